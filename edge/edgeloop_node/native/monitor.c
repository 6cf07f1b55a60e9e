/* The counters. The rules are those of edgeloop_node/monitor.py: counts of unread windows are never forgotten and never
   wrong; when WINDOWS are unread, rows are scored and only counted as uncounted. */
#include "monitor.h"

#include <math.h>
#include <string.h>

#include "number.h"

#define FARTHEST 17592186044416.0 /* 2^44 quanta that one value adds at most */

const uint32_t latency_edges_us[LATENCY_EDGES] = {50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400};
monitor_totals totals;

static window windows[WINDOWS];
static uint32_t last; /* the window of the row before: most rows come in order */
static uint64_t sequence, confirmed;
static bool any, forgot;
static int64_t newest_s, forgotten_s;
static uint32_t reopened;

int64_t window_start(double time_s) {
    int64_t whole = (int64_t)time_s;
    return whole - whole % WINDOW_S;
}

static void forget(void) {
    for (uint32_t i = 0; any && i < WINDOWS; i++) {
        window *w = &windows[i];
        bool stored = w->used && !w->dirty && w->sequence <= confirmed;
        if (!stored || w->start_s >= newest_s - (int64_t)KEEP_WINDOWS * WINDOW_S)
            continue;
        w->used = false;
        forgotten_s = forgot && forgotten_s > w->start_s ? forgotten_s : w->start_s;
        forgot = true;
    }
}

static window *free_window(void) {
    for (uint32_t i = 0; i < WINDOWS; i++)
        if (!windows[i].used)
            return &windows[i];
    return NULL;
}

static window *open_window(int64_t start_s) {
    window *w = free_window();
    if (!w) {
        forget();
        w = free_window();
    }
    if (!w)
        return NULL;
    memset(w, 0, sizeof *w);
    w->used = true;
    w->start_s = start_s;
    if (forgot && start_s <= forgotten_s)
        w->reopened = ++reopened;
    for (uint32_t i = 0; i < FEATURES; i++) {
        w->minimum[i] = INFINITY;
        w->maximum[i] = -INFINITY;
    }
    newest_s = any && newest_s > start_s ? newest_s : start_s;
    any = true;
    return w;
}

static window *window_of(int64_t start_s) {
    if (windows[last].used && windows[last].start_s == start_s)
        return &windows[last];
    window *found = NULL;
    for (uint32_t i = 0; i < WINDOWS && !found; i++)
        if (windows[i].used && windows[i].start_s == start_s)
            found = &windows[i];
    if (!found)
        found = open_window(start_s);
    if (found)
        last = (uint32_t)(found - windows);
    return found;
}

static void add(window *w, uint32_t place, int64_t value) {
    if (__builtin_add_overflow(w->sums[place], value, &w->sums[place]))
        w->turns[place] += value > 0 ? 1 : -1;
}

int64_t window_sum(const window *w, uint32_t place) {
    int32_t turns = w->turns[place];
    int64_t sum = turns > 0 ? INT64_MAX : turns < 0 ? -INT64_MAX : w->sums[place];
    return sum < -INT64_MAX ? -INT64_MAX : sum;
}

static uint32_t place_of(double x, const feature_data *f) {
    uint32_t low = 0, high = f->edge_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (f->edges[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void count_number(window *w, uint32_t i, double x) {
    const feature_data *f = &data_features[i];
    uint32_t place = place_of(x, f);
    double quanta = x / f->quantum;
    w->counts[f->first_bin + place]++;
    if (!(quanta > -FARTHEST && quanta < FARTHEST))
        quanta = quanta < 0 ? -FARTHEST : FARTHEST;
    add(w, f->first_sum + place, nearest_integer(quanta));
    if (x < w->minimum[i])
        w->minimum[i] = x;
    if (x > w->maximum[i])
        w->maximum[i] = x;
    w->out_of_range[i] += x < f->minimum || x > f->maximum;
}

static void count_category(window *w, uint32_t i, double x) {
    const feature_data *f = &data_features[i];
    bool known = x >= 0 && x < f->category_count && x == (double)(uint32_t)x;
    w->counts[f->first_bin + (known ? (uint32_t)x : f->bins - 1)]++;
}

window *monitor_row(const double *values, int64_t start_s, uint32_t latency_bin) {
    window *w = window_of(start_s);
    if (!w) {
        totals.uncounted++;
        return NULL;
    }
    w->dirty = true;
    w->rows++;
    w->latency[latency_bin]++;
    for (uint32_t i = 0; i < FEATURES; i++) {
        if (values[i] != values[i])
            w->missing[i]++;
        else if (data_features[i].sums)
            count_number(w, i, values[i]);
        else
            count_category(w, i, values[i]);
    }
    return w;
}

uint32_t monitor_latency(double latency_us, uint32_t rows) {
    uint32_t bin = 0;
    while (bin < LATENCY_EDGES && latency_edges_us[bin] < latency_us)
        bin++;
    totals.rows += rows;
    totals.latency[bin] += rows;
    totals.latency_sum_us += latency_us * rows;
    return bin;
}

/* The window for what has no row: the newest one, so that replayed data keeps to its own time; else the clock's. */
static window *current(double now_s) {
    window *w = window_of(any ? newest_s : window_start(now_s));
    if (w)
        w->dirty = true;
    return w;
}

void monitor_refuse(double now_s) {
    window *w = current(now_s);
    if (w)
        w->refused++;
}

void monitor_fail(double now_s) {
    window *w = current(now_s);
    if (w)
        w->failed++;
}

void monitor_confirm(uint64_t up_to) {
    up_to = up_to < sequence ? up_to : sequence;
    confirmed = confirmed > up_to ? confirmed : up_to;
    forget();
}

uint64_t monitor_sequence(void) {
    return sequence;
}

uint64_t monitor_confirmed(void) {
    return confirmed;
}

static window *oldest_dirty(void) {
    window *oldest = NULL;
    for (uint32_t i = 0; i < WINDOWS; i++)
        if (windows[i].used && windows[i].dirty && (!oldest || windows[i].start_s < oldest->start_s))
            oldest = &windows[i];
    return oldest;
}

void monitor_stamp(void) {
    for (window *w; (w = oldest_dirty()) != NULL;) {
        w->sequence = ++sequence;
        w->dirty = false;
    }
}

const window *monitor_next(uint64_t after) {
    const window *next = NULL;
    for (uint32_t i = 0; i < WINDOWS; i++)
        if (windows[i].used && windows[i].sequence > after && (!next || windows[i].sequence < next->sequence))
            next = &windows[i];
    return next;
}

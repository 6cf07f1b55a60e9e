/* Counts what is scored, in the reference's bins, window by window, as edgeloop_node.monitor does, in fixed memory. */
#ifndef EDGELOOP_MONITOR_H
#define EDGELOOP_MONITOR_H

#include "document.h"

enum {
    LATENCY_EDGES = 12,
    LATENCY_BINS = LATENCY_EDGES + 1,
    CONFIDENCE_BINS = CLASSES ? 20 : 0, /* without classes there is no confidence */
    KEEP_WINDOWS = WINDOWS / 2 < 48 ? WINDOWS / 2 : 48
};

extern const uint32_t latency_edges_us[LATENCY_EDGES];

typedef struct {
    bool used, dirty;
    uint32_t reopened; /* 0, or k of the boot id <boot>.<k> */
    int64_t start_s;
    uint64_t rows, refused, failed, sequence;
    uint64_t classes[CLASSES], confidence[CONFIDENCE_BINS], confidence_sums[CONFIDENCE_BINS], latency[LATENCY_BINS];
    uint64_t missing[FEATURES], out_of_range[FEATURES];
    double minimum[FEATURES], maximum[FEATURES];
    uint64_t counts[BINS];
    int64_t sums[SUMS + 1];
    int32_t turns[SUMS + 1]; /* the sum is sums + turns * 2^64 */
} window;

typedef struct {
    uint64_t rows, uncounted, latency[LATENCY_BINS];
    double latency_sum_us;
} monitor_totals;

extern monitor_totals totals;

int64_t window_start(double time_s);

/* Counts one scored row, whose answer kind_count adds to the window that comes back; NULL: no window is free. `values` has NaN
   for missing and codes for categories. */
window *monitor_row(const double *values, int64_t start_s, uint32_t latency_bin);
uint32_t monitor_latency(double latency_us, uint32_t rows); /* counts the request in the totals; its bin */

void monitor_refuse(double now_s); /* a scoring request that was answered with 4xx */
void monitor_fail(double now_s);   /* ... with 5xx */

void monitor_confirm(uint64_t sequence); /* the reader has stored everything up to there */
uint64_t monitor_sequence(void);
uint64_t monitor_confirmed(void);

/* Stamps what changed; then monitor_next gives the window with the lowest sequence above `after`, or NULL. */
int64_t window_sum(const window *w, uint32_t place); /* within 64 bits, as a contract carries it */

void monitor_stamp(void);
const window *monitor_next(uint64_t after);

#endif

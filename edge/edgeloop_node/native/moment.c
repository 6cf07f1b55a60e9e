/* ISO 8601 as Python's datetime.fromisoformat reads it: dates of the calendar or of the week, basic or extended, a time of
   any precision after any one separator, and a zone. Years 1 to 9999. */
#include "moment.h"

typedef struct {
    const char *at, *end;
} reader;

enum { DAY_S = 86400, UNIX_DAY = 719163 /* 1970-01-01 counted from 0001-01-01 = 1 */ };

static bool digits(reader *r, uint32_t count, uint32_t *value) {
    *value = 0;
    for (; count; count--, r->at++) {
        if (r->at >= r->end || *r->at < '0' || *r->at > '9')
            return false;
        *value = *value * 10 + (uint32_t)(*r->at - '0');
    }
    return true;
}

static bool take(reader *r, char c) {
    if (r->at >= r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool leap(uint32_t year) {
    return year % 4 == 0 && (year % 100 || year % 400 == 0);
}

static int64_t days_before(uint32_t year) {
    int64_t before = year - 1;
    return before * 365 + before / 4 - before / 100 + before / 400;
}

static uint32_t days_in(uint32_t year, uint32_t month) {
    return month == 2 ? 28u + leap(year) : 30u + ((month + month / 8) & 1);
}

static bool calendar(uint32_t year, uint32_t month, uint32_t day, int64_t *days) {
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return false;
    *days = days_before(year) + day;
    for (uint32_t m = 1; m < month; m++)
        *days += days_in(year, m);
    return true;
}

/* Weeks begin on Monday; week 1 holds January 4th. Day 1 (0001-01-01) is a Monday. */
static bool week_date(uint32_t year, uint32_t week, uint32_t day, int64_t *days) {
    if (year < 1 || week < 1 || week > 53 || day < 1 || day > 7)
        return false;
    int64_t fourth = days_before(year) + 4, monday = fourth - (fourth - 1) % 7;
    uint32_t first = (uint32_t)((days_before(year)) % 7); /* weekday of January 1st, Monday is 0 */
    if (week == 53 && first != 3 && !(first == 2 && leap(year)))
        return false;
    *days = monday + (week - 1) * 7 + day - 1;
    return true;
}

static bool week_read(reader *r, uint32_t year, bool extended, int64_t *days) {
    uint32_t week, day = 1;
    if (!digits(r, 2, &week))
        return false;
    if (extended ? take(r, '-') : r->at < r->end && *r->at >= '0' && *r->at <= '9')
        if (!digits(r, 1, &day))
            return false;
    return week_date(year, week, day, days);
}

static bool date_read(reader *r, int64_t *days) {
    uint32_t year, month, day;
    if (!digits(r, 4, &year))
        return false;
    bool extended = take(r, '-');
    if (take(r, 'W'))
        return week_read(r, year, extended, days);
    if (!digits(r, 2, &month) || (extended && !take(r, '-')) || !digits(r, 2, &day))
        return false;
    return calendar(year, month, day, days);
}

/* Microseconds of a fraction; digits beyond six are cut off, as Python does. */
static bool fraction_read(reader *r, int64_t *microseconds) {
    int64_t unit = 100000;
    if (r->at >= r->end || *r->at < '0' || *r->at > '9')
        return false;
    for (*microseconds = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, unit /= 10)
        *microseconds += unit * (*r->at - '0');
    return true;
}

/* hh[mm[ss[.f]]] with or without colons, in microseconds. */
static bool clock_read(reader *r, int64_t *microseconds) {
    uint32_t parts[3] = {0, 0, 0}, count = 0;
    int64_t fraction = 0;
    bool colons = false;
    do {
        if (!digits(r, 2, &parts[count++]))
            return false;
        bool colon = count < 3 && take(r, ':');
        if (count == 1)
            colons = colon;
        else if (count == 2 && colon != colons && (colon || (r->at < r->end && *r->at >= '0' && *r->at <= '9')))
            return false;
    } while (count < 3 && (r->at[-1] == ':' || (!colons && r->at < r->end && *r->at >= '0' && *r->at <= '9')));
    if (count == 3 && (take(r, '.') || take(r, ',')) && !fraction_read(r, &fraction))
        return false;
    *microseconds = ((parts[0] * 60 + parts[1]) * (int64_t)60 + parts[2]) * 1000000 + fraction;
    return parts[0] < 24 && parts[1] < 60 && parts[2] < 60;
}

static bool zone_read(reader *r, int64_t *microseconds) {
    *microseconds = 0;
    if (r->at == r->end || take(r, 'Z'))
        return true;
    bool west = take(r, '-');
    if (!west && !take(r, '+'))
        return false;
    if (!clock_read(r, microseconds))
        return false;
    *microseconds = west ? -*microseconds : *microseconds;
    return true;
}

bool moment_read(slice text, double *seconds) {
    reader r = {text.text, text.text + text.bytes};
    int64_t days, clock = 0, zone = 0;
    if (!date_read(&r, &days))
        return false;
    if (r.at < r.end) {
        r.at += utf8_length(r.at, r.end);
        if (!clock_read(&r, &clock) || !zone_read(&r, &zone))
            return false;
    }
    int64_t microseconds = (days - UNIX_DAY) * (int64_t)DAY_S * 1000000 + clock - zone;
    int64_t whole = microseconds / 1000000;
    bool exact = microseconds < (int64_t)1 << 53 && microseconds > -((int64_t)1 << 53);
    *seconds = exact ? (double)microseconds / 1e6 : (double)whole + (double)(microseconds - whole * 1000000) / 1e6;
    return r.at == r.end;
}

void put_moment(writer *w, int64_t milliseconds) {
    int64_t days = milliseconds / (DAY_S * 1000) + UNIX_DAY;
    uint32_t rest = (uint32_t)(milliseconds % (DAY_S * 1000)), year = (uint32_t)(days / 366 + 1), month = 1;
    while (days_before(year + 1) < days)
        year++;
    uint32_t day = (uint32_t)(days - days_before(year));
    for (; day > days_in(year, month); month++)
        day -= days_in(year, month);
    uint32_t parts[] = {year, month, day, rest / 3600000, rest / 60000 % 60, rest / 1000 % 60, rest % 1000};
    static const uint8_t widths[] = {4, 2, 2, 2, 2, 2, 3};
    for (int i = 0; i < 7; i++) {
        put_padded(w, parts[i], widths[i]);
        put_char(w, "--T::.+"[i]);
    }
    put_text(w, "00:00");
}

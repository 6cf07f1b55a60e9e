/* A decimal number of up to DIGITS digits that can be halved and doubled exactly: slow, small, and right for every input.
   No double, and no middle between two, has more than 767 digits; what is cut off beyond DIGITS is remembered as "more". */
#include "decimal.h"

#include <string.h>

enum { DIGITS = 800, STEP = 28 };

typedef struct {
    int32_t count, point; /* 0.d1d2d3... * 10^point */
    bool more;
    uint8_t digit[DIGITS];
} decimal;

static decimal number;

static void append(decimal *d, uint8_t digit) {
    if (d->count < DIGITS)
        d->digit[d->count++] = digit;
    else
        d->more |= digit != 0;
}

static void trim(decimal *d) {
    while (d->count > 0 && d->digit[d->count - 1] == 0)
        d->count--;
}

static void read_exponent(decimal *d, const char *at, const char *end) {
    int32_t value = 0;
    bool negative = *at == '-';
    for (; at < end; at++)
        if (*at >= '0' && *at <= '9' && value < 1000000)
            value = value * 10 + (*at - '0');
    d->point += negative ? -value : value;
}

static void read_digits(decimal *d, slice text) {
    bool fraction = false;
    const char *at = text.text, *end = text.text + text.bytes;
    d->count = d->point = 0;
    d->more = false;
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.')
            fraction = true;
        if (*at < '0' || *at > '9')
            continue;
        bool leading = d->count == 0 && *at == '0';
        if (!leading)
            append(d, (uint8_t)(*at - '0'));
        d->point += fraction ? -leading : !leading;
    }
    if (at + 1 < end)
        read_exponent(d, at + 1, end);
    trim(d);
}

/* Makes room for the digits of `carry` in front. */
static void prepend(decimal *d, uint64_t carry) {
    int32_t extra = 0, kept;
    for (uint64_t rest = carry; rest; rest /= 10)
        extra++;
    kept = d->count + extra <= DIGITS ? d->count : DIGITS - extra;
    for (int32_t i = kept; i < d->count; i++)
        d->more |= d->digit[i] != 0;
    memmove(d->digit + extra, d->digit, (size_t)kept);
    d->count = kept + extra;
    d->point += extra;
    for (int32_t i = extra; i-- > 0; carry /= 10)
        d->digit[i] = (uint8_t)(carry % 10);
    trim(d);
}

static void times_power2(decimal *d, int32_t shift) {
    uint64_t carry = 0;
    for (int32_t i = d->count; i-- > 0; carry /= 10) {
        carry += (uint64_t)d->digit[i] << shift;
        d->digit[i] = (uint8_t)(carry % 10);
    }
    prepend(d, carry);
}

static void over_power2(decimal *d, int32_t shift) {
    uint64_t rest = 0, mask = ((uint64_t)1 << shift) - 1;
    int32_t count = d->count, from = 0;
    for (; rest >> shift == 0 && (from < count || rest); from++)
        rest = rest * 10 + (from < count ? d->digit[from] : 0);
    d->point -= from - 1;
    d->count = 0;
    for (; from < count || rest; from++) {
        append(d, (uint8_t)(rest >> shift));
        rest = (rest & mask) * 10 + (from < count ? d->digit[from] : 0);
    }
    trim(d);
}

static void scale(decimal *d, int32_t shift) {
    void (*move)(decimal *, int32_t) = shift < 0 ? over_power2 : times_power2;
    for (int32_t left = shift < 0 ? -shift : shift; left > 0 && d->count; left -= STEP)
        move(d, left < STEP ? left : STEP);
}

static bool rounds_up(const decimal *d, int32_t place) {
    if (place < 0 || place >= d->count)
        return false;
    bool half = d->digit[place] == 5 && place + 1 == d->count && !d->more;
    return half ? place > 0 && d->digit[place - 1] & 1 : d->digit[place] >= 5;
}

static uint64_t whole(const decimal *d) {
    uint64_t value = 0;
    for (int32_t i = 0; i < d->point; i++)
        value = value * 10 + (i < d->count ? d->digit[i] : 0);
    return value + rounds_up(d, d->point);
}

/* Brings the number into [1/2, 1); the power of two that was taken out. */
static int32_t normalise(decimal *d) {
    int32_t exponent = 0;
    while (d->point > 0) {
        int32_t step = d->point > 8 ? STEP : 1 + 3 * (d->point - 1);
        over_power2(d, step);
        exponent += step;
    }
    while (d->point < 0 || d->digit[0] < 5) {
        int32_t step = d->point < -8 ? STEP : d->point < 0 ? -3 * d->point : 1;
        times_power2(d, step);
        exponent -= step;
    }
    return exponent;
}

double decimal_read(slice text) {
    uint64_t bits = 0;
    double value;
    read_digits(&number, text);
    if (number.point > 310)
        bits = (uint64_t)0x7ff << 52;
    else if (number.count && number.point > -330) {
        int32_t exponent = normalise(&number) - 1; /* the value is 1.xxx * 2^exponent */
        int32_t lack = exponent < -1022 ? -1022 - exponent : 0;
        scale(&number, 53 - lack);
        uint64_t mantissa = whole(&number);
        uint64_t base = lack ? 0 : (uint64_t)(exponent + 1022) << 52;
        bits = exponent > 1023 ? (uint64_t)0x7ff << 52 : base + mantissa;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void set(decimal *d, uint64_t value) {
    d->count = d->point = 0;
    d->more = false;
    prepend(d, value);
}

int32_t decimal_digits(double value, int32_t count, char *digits, int32_t *point) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int32_t biased = (int32_t)(bits >> 52 & 0x7ff);
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    set(&number, biased ? fraction | (uint64_t)1 << 52 : fraction);
    scale(&number, (biased ? biased : 1) - 1075);
    int32_t kept = count < number.count ? count : number.count, last = kept;
    bool up = rounds_up(&number, count);
    *point = number.point;
    while (up && last > 0 && number.digit[last - 1] == 9)
        last--;
    if (up && last == 0) { /* 999... becomes 1 with one digit more before the point */
        digits[0] = '1';
        *point += 1;
        return 1;
    }
    for (int32_t i = 0; i < last; i++)
        digits[i] = (char)('0' + number.digit[i]);
    if (up)
        digits[last - 1]++;
    while (last > 1 && digits[last - 1] == '0')
        last--;
    return last;
}

static void zeros(writer *w, int32_t count) {
    while (count-- > 0)
        put_char(w, '0');
}

static void put_plain(writer *w, const char *digits, int32_t count, int32_t point) {
    int32_t before = point < 0 ? 0 : point < count ? point : count;
    put(w, digits, (size_t)before);
    zeros(w, point - count);
    put_text(w, before == 0 && point <= 0 ? "0." : ".");
    zeros(w, -point);
    put(w, digits + before, (size_t)(count - before));
    if (before == count)
        put_char(w, '0');
}

void put_digits(writer *w, const char *digits, int32_t count, int32_t point) {
    if (point > -4 && point <= 16) {
        put_plain(w, digits, count, point);
        return;
    }
    put_char(w, digits[0]);
    if (count > 1) {
        put_char(w, '.');
        put(w, digits + 1, (size_t)(count - 1));
    }
    put_char(w, 'e');
    put_i64(w, point - 1);
}

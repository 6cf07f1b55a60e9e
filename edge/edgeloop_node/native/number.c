/* Reads and prints floating point numbers exactly, in a few kilobytes. A double comes from a 64-bit mantissa and a 128-bit
   power of ten whose error is known; the few numbers that lie so near the middle between two doubles that the error
   matters are left to decimal.c. A float is printed by comparing candidates of few digits with the bounds of the interval
   that rounds to it (R. Giulietti, "The Schubfach way to render doubles"). */
#include "number.h"

#include <float.h>
#include <string.h>

#include "decimal.h"
#include "powers.h"

_Static_assert(FLT_EVAL_METHOD == 0, "a double must be a double: excess precision would round twice");

enum { MANTISSA_DIGITS = 19 };

static power multiply(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    unsigned __int128 product = (unsigned __int128)a * b;
    return (power){(uint64_t)(product >> 64), (uint64_t)product};
#else
    uint64_t ah = a >> 32, al = (uint32_t)a, bh = b >> 32, bl = (uint32_t)b;
    uint64_t low = al * bl, one = ah * bl + (low >> 32), two = al * bh + (uint32_t)one;
    return (power){ah * bh + (one >> 32) + (two >> 32), two << 32 | (uint32_t)low};
#endif
}

static int32_t floor_log2_power10(int32_t exponent) {
    return (exponent * 217706) >> 16;
}

/* The product's upper 128 bits, its highest bit set; too small by less than two units before, four after. */
static power scaled(power a, power b) {
    power hh = multiply(a.high, b.high), hl = multiply(a.high, b.low), lh = multiply(a.low, b.high);
    uint64_t rest = multiply(a.low, b.low).high, carry = 0;
    rest += hl.low, carry += rest < hl.low;
    rest += lh.low, carry += rest < lh.low;
    uint64_t low = hh.low, high = hh.high;
    low += hl.high, high += low < hl.high;
    low += lh.high, high += low < lh.high;
    low += carry, high += low < carry;
    if (high >> 63)
        return (power){high, low};
    return (power){high << 1 | low >> 63, low << 1 | rest >> 63};
}

/* 10^exponent, cut off: at most four units too small, exact from 1e0 to 1e27. -392 <= exponent < 336 */
static power power_of_ten(int32_t exponent) {
    int32_t step = (exponent + 14 * POWER_STEP) / POWER_STEP, fine = exponent + 14 * POWER_STEP - step * POWER_STEP;
    if (step == -POWER_FIRST)
        return fine_powers[fine];
    return fine ? scaled(coarse_powers[step], fine_powers[fine]) : coarse_powers[step];
}

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* mantissa * 10^exponent, or (when `cut`) something from there up to (mantissa + 1) * 10^exponent. False: too near the
   middle to tell. */
static bool near_double(uint64_t mantissa, int32_t exponent, bool cut, double *value) {
    int32_t shift = __builtin_clzll(mantissa);
    power ten = power_of_ten(exponent), product = multiply(mantissa << shift, ten.high);
    power below = multiply(mantissa << shift, ten.low);
    product.low += below.high;
    product.high += product.low < below.high;
    int32_t binary = 64 + floor_log2_power10(exponent) - shift;
    if (!(product.high >> 63)) {
        product = (power){product.high << 1 | product.low >> 63, product.low << 1 | below.low >> 63};
        binary--;
    }
    if (binary > 1023) {
        *value = double_of((uint64_t)0x7ff << 52);
        return true;
    }
    int32_t drop = 11 + (binary < -1022 ? -1022 - binary : 0);
    if (drop > 62)
        return false;
    uint64_t half = (uint64_t)1 << (drop - 1), rest = product.high & (2 * half - 1), whole = product.high >> drop;
    uint64_t most_low = product.low + 16, most = rest + (most_low < 16) + (cut ? (uint64_t)2 << shift : 0);
    bool above = rest > half || (rest == half && product.low > 0), under = most < half;
    if (!above && !under)
        return false;
    uint64_t base = binary < -1022 ? 0 : (uint64_t)(binary + 1022) << 52;
    *value = double_of(base + whole + above);
    return true;
}

static double magnitude(uint64_t mantissa, int32_t digits, int32_t exponent, bool cut, slice text) {
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double value;
    if (mantissa == 0 || digits + exponent < -330)
        return 0;
    if (digits + exponent > 310)
        return double_of((uint64_t)0x7ff << 52);
    if (!cut && mantissa >> 53 == 0 && exponent >= -22 && exponent <= 22)
        return exponent < 0 ? (double)mantissa / exact[-exponent] : (double)mantissa * exact[exponent];
    return near_double(mantissa, exponent, cut, &value) ? value : decimal_read(text);
}

static bool is_digit(const char *at, const char *end) {
    return at < end && *at >= '0' && *at <= '9';
}

/* Digits as they come: the first MANTISSA_DIGITS that count, and how far the point moves by the others. */
typedef struct {
    uint64_t mantissa;
    int32_t digits, exponent;
    bool cut;
} collected;

static const char *collect(collected *c, const char *at, const char *end, int32_t step) {
    for (; is_digit(at, end); at++) {
        uint32_t digit = (uint32_t)(*at - '0');
        if (c->digits < MANTISSA_DIGITS) {
            c->mantissa = c->mantissa * 10 + digit;
            c->digits += c->mantissa != 0;
            c->exponent -= step;
        } else {
            c->cut |= digit != 0;
            c->exponent += 1 - step;
        }
    }
    return at;
}

static const char *exponent_read(const char *at, const char *end, int32_t *exponent) {
    bool negative = at < end && *at == '-';
    int32_t value = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (!is_digit(at, end))
        return NULL;
    for (; is_digit(at, end); at++)
        value = value < 10000000 ? value * 10 + (*at - '0') : value;
    *exponent += negative ? -value : value;
    return at;
}

static const char *spelled(collected *c, const char *at, const char *end) {
    at += at < end && *at == '-';
    if (!is_digit(at, end) || (*at == '0' && is_digit(at + 1, end)))
        return NULL;
    at = collect(c, at, end, 0);
    if (at < end && *at == '.') {
        if (!is_digit(at + 1, end))
            return NULL;
        at = collect(c, at + 1, end, 1);
    }
    return at < end && (*at == 'e' || *at == 'E') ? exponent_read(at + 1, end, &c->exponent) : at;
}

const char *number_skip(const char *at, const char *end) {
    collected c = {0, 0, 0, false};
    return spelled(&c, at, end);
}

const char *number_read(const char *at, const char *end, double *value) {
    collected c = {0, 0, 0, false};
    const char *after = spelled(&c, at, end);
    if (!after)
        return NULL;
    double size = magnitude(c.mantissa, c.digits, c.exponent, c.cut, (slice){at, (size_t)(after - at)});
    *value = *at == '-' ? -size : size;
    return after;
}

/* The upper 32 of the 96 bits of g * c and a last bit that says whether there was more. */
static uint64_t round_to_odd(uint64_t g, uint32_t c) {
    uint64_t low = (uint64_t)(uint32_t)g * c, product = (g >> 32) * c + (low >> 32);
    return product >> 32 | ((product & 0xffffffff) > 1);
}

static void put_shortest(writer *w, uint32_t value, int32_t exponent) {
    char digits[10];
    int32_t count = 0;
    for (; value % 10 == 0; value /= 10)
        exponent++;
    for (uint32_t rest = value; rest; rest /= 10)
        count++;
    for (int32_t i = count; i-- > 0; value /= 10)
        digits[i] = (char)('0' + value % 10);
    put_digits(w, digits, count, count + exponent);
}

void put_float(writer *w, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >> 31)
        put_char(w, '-');
    uint32_t fraction = bits & 0x7fffff, biased = bits >> 23 & 0xff;
    if (!fraction && !biased) {
        put_text(w, "0.0");
        return;
    }
    uint32_t c = biased ? fraction | 0x800000 : fraction;
    int32_t q = biased ? (int32_t)biased - 150 : -149;
    bool closer = fraction == 0 && biased > 1, odd = c & 1; /* the neighbour below is only half as far away */
    int32_t k = (q * 1262611 - (closer ? 524031 : 0)) >> 22; /* floor(log10) of the interval's width */
    power ten = power_of_ten(-k);
    uint64_t g = ten.high + (ten.low != 0);
    int32_t h = q + floor_log2_power10(-k) + 1;
    uint64_t low = round_to_odd(g, (4 * c - 2 + closer) << h) + odd, middle = round_to_odd(g, (4 * c) << h);
    uint64_t high = round_to_odd(g, (4 * c + 2) << h) - odd, s = middle / 4;
    if (s >= 10) {
        uint64_t ten_below = s / 10;
        bool below = low <= 40 * ten_below, above = 40 * ten_below + 40 <= high;
        if (below != above) {
            put_shortest(w, (uint32_t)(ten_below + above), k + 1);
            return;
        }
    }
    bool below = low <= 4 * s, above = 4 * s + 4 <= high, up = middle > 4 * s + 2 || (middle == 4 * s + 2 && (s & 1));
    put_shortest(w, (uint32_t)(s + (below != above ? above : up)), k);
}

void put_double(writer *w, double value) {
    char digits[17], text[40];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >> 63)
        put_char(w, '-');
    double size = double_of(bits & ~((uint64_t)1 << 63)), back = -1;
    if (size == 0) {
        put_text(w, "0.0");
        return;
    }
    writer trial;
    for (int32_t count = 15; count <= 17 && back != size; count++) {
        int32_t point, used = decimal_digits(size, count, digits, &point);
        trial = writer_on(text, sizeof text);
        put_digits(&trial, digits, used, point);
        number_read(trial.start, trial.at, &back);
    }
    put_slice(w, written(&trial));
}

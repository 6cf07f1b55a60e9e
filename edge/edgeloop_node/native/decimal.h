/* Exact decimal arithmetic for the few numbers that 128 bits cannot decide, and the printing of digits. */
#ifndef EDGELOOP_DECIMAL_H
#define EDGELOOP_DECIMAL_H

#include "text.h"

double decimal_read(slice number); /* a number as JSON spells it, without regard to its sign */

/* The first `count` digits of a positive double, rounded; trailing zeros are left out. Its value is 0.digits * 10^point. */
int32_t decimal_digits(double value, int32_t count, char *digits, int32_t *point);

/* Prints 0.digits * 10^point as a JSON number with a fraction or an exponent. */
void put_digits(writer *w, const char *digits, int32_t count, int32_t point);

#endif

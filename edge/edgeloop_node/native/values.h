/* Single values of requests. Each reader gives 0, or 400 with a fault. */
#ifndef EDGELOOP_VALUES_H
#define EDGELOOP_VALUES_H

#include "text.h"

#define LARGEST_FLOAT 3.4028234663852886e38

bool value_number(slice value, double *number); /* a number that float32 can hold; null is NaN */
int value_time(slice value, int64_t row, double *seconds);
int value_id(slice value, int64_t row);

#endif

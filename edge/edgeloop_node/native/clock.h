#ifndef EDGELOOP_CLOCK_H
#define EDGELOOP_CLOCK_H

#include <stdint.h>

uint64_t monotonic_ns(void);
int64_t monotonic_ms(void);
double unix_s(void);

#endif

#ifndef EDGELOOP_SELFTEST_H
#define EDGELOOP_SELFTEST_H

#include <stdbool.h>

/* Scores the golden rows. False: fault_text() names the first that is wrong. */
bool selftest(double *worst);

#endif

/* Counts as the contracts' Report, in JSON. */
#ifndef EDGELOOP_REPORT_H
#define EDGELOOP_REPORT_H

#include "monitor.h"

void report_write(const window *w, writer *body);

#endif

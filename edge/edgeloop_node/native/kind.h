/* What kind of answers the model gives: classes.c holds classifiers (a label and probabilities), quantities.c all others.
   The documents say which (CLASSES), so only one of them is more than an empty file in a server. */
#ifndef EDGELOOP_KIND_H
#define EDGELOOP_KIND_H

#include "monitor.h"

extern const char kind_outputs[]; /* what the model's outputs must be */

int kind_check(uint32_t row);                      /* 0, or 500 with a fault: no answer of this kind; may mend rounding */
void kind_count(window *w, uint32_t row);          /* the answer, into the window of its row */
void kind_write(uint32_t row, writer *body);       /* the answer as members of /score's JSON, each with a comma before it */
bool kind_golden(uint32_t row, double *difference); /* golden row `row`, scored into the first places; false with a fault */

#endif

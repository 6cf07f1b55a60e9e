/* Numbers as JSON spells them. Reading rounds to the nearest double, as Python does; writing gives the fewest digits that
   read back as the same float, or at most 17 that read back as the same double. */
#ifndef EDGELOOP_NUMBER_H
#define EDGELOOP_NUMBER_H

#include "text.h"

/* Reads a number at `at`; the place after it, or NULL when there is none. Too large is infinity, too small is zero. */
const char *number_read(const char *at, const char *end, double *value);
const char *number_skip(const char *at, const char *end); /* the same without its value */

void put_float(writer *w, float value);   /* finite */
void put_double(writer *w, double value); /* finite */

/* Half goes to the even neighbour. |value| <= 2^51 */
static inline int64_t nearest_integer(double value) {
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it leaves no bit for a fraction */
    return (int64_t)(value + magic - magic);
}

#endif

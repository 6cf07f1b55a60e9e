/* "(did you mean x?)" for a name that is not known. */
#ifndef EDGELOOP_NEAREST_H
#define EDGELOOP_NEAREST_H

#include "text.h"

/* Writes the known name that is most like `name`, or the list of the known names when none is half alike. */
void put_nearest(writer *w, slice name, const slice *known, uint32_t count);

#endif

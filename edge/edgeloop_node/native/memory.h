#ifndef EDGELOOP_MEMORY_H
#define EDGELOOP_MEMORY_H

#include <stddef.h>

/* Gives the whole pages within a part of static memory back to the kernel; they are zero when they are touched next. */
void memory_release(void *start, size_t bytes);

#endif

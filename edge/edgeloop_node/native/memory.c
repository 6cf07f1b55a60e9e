/* All memory is static, so what one large request touched would stay with the process for ever: it is given back here. */
#define _GNU_SOURCE
#include "memory.h"

#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>

void memory_release(void *start, size_t bytes) {
    uintptr_t page = getauxval(AT_PAGESZ), first = ((uintptr_t)start + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)start + bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

/* Memory for what connections must keep: three sizes, a fixed number of each. Most connections keep nothing: a request that
   comes whole is handled where it was read. */
#ifndef EDGELOOP_BUFFERS_H
#define EDGELOOP_BUFFERS_H

#include "output.h"

enum {
    MOST_CONNECTIONS = 512,
    MOST_PRIVATE = 32,
    SLOTS = MOST_CONNECTIONS + MOST_PRIVATE,
    SMALL_BYTES = 2048, /* there is one for every connection */
    MEDIUM_BYTES = 20 * 1024,
    LARGE_BYTES_EACH = OUTPUT_BYTES,
    MEDIUM_BUFFERS = 32,
    LARGE_BUFFERS = 2, /* they bound the memory: further large requests wait for one */
};

typedef struct {
    char *start; /* NULL: none */
    uint32_t room;
} buffer;

bool buffer_take(buffer *b, uint64_t bytes); /* room for at least so many; false: none is free */
void buffer_give(buffer *b);
bool buffer_medium_free(void);

#endif

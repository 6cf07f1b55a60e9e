#include "buffers.h"

#include "memory.h"

static char small[2 * SLOTS][SMALL_BYTES], medium[MEDIUM_BUFFERS][MEDIUM_BYTES];
static char large[LARGE_BUFFERS][LARGE_BYTES_EACH] __attribute__((aligned(4096)));
static bool small_taken[2 * SLOTS], medium_taken[MEDIUM_BUFFERS], large_taken[LARGE_BUFFERS];

static const struct {
    char *start;
    bool *taken;
    uint32_t count, room;
} sizes[] = {
    {small[0], small_taken, 2 * SLOTS, SMALL_BYTES},
    {medium[0], medium_taken, MEDIUM_BUFFERS, MEDIUM_BYTES},
    {large[0], large_taken, LARGE_BUFFERS, LARGE_BYTES_EACH},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

bool buffer_take(buffer *b, uint64_t bytes) {
    for (int s = 0; s < SIZES; s++)
        for (uint32_t i = 0; bytes <= sizes[s].room && i < sizes[s].count; i++)
            if (!sizes[s].taken[i]) {
                sizes[s].taken[i] = true;
                *b = (buffer){sizes[s].start + (size_t)i * sizes[s].room, sizes[s].room};
                return true;
            }
    return false;
}

void buffer_give(buffer *b) {
    for (int s = 0; b->start && s < SIZES; s++)
        if (sizes[s].room == b->room)
            sizes[s].taken[(size_t)(b->start - sizes[s].start) / b->room] = false;
    if (b->room == LARGE_BYTES_EACH)
        memory_release(b->start, b->room);
    *b = (buffer){NULL, 0};
}

bool buffer_medium_free(void) {
    for (uint32_t i = 0; i < MEDIUM_BUFFERS; i++)
        if (!medium_taken[i])
            return true;
    return false;
}

/* Text as it is read (slice) and written (writer). A writer that runs full says so and never writes past its end. */
#ifndef EDGELOOP_TEXT_H
#define EDGELOOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *text;
    size_t bytes;
} slice;

typedef struct {
    char *start, *at, *end;
    bool full;
} writer;

#define SLICE(literal) ((slice){literal, sizeof(literal) - 1})

static inline writer writer_on(char *start, size_t bytes) {
    return (writer){start, start, start + bytes, false};
}
static inline slice written(const writer *w) {
    return (slice){w->start, (size_t)(w->at - w->start)};
}

slice slice_of(const char *text);
bool same(slice a, slice b);
bool same_word(slice a, slice b); /* ASCII letters of either case are equal */

void put(writer *w, const char *text, size_t bytes);
void put_char(writer *w, char c);
void put_text(writer *w, const char *text);
void put_slice(writer *w, slice s);
void put_u64(writer *w, uint64_t value);
void put_i64(writer *w, int64_t value);
void put_padded(writer *w, uint32_t value, uint32_t digits); /* zeros in front */
void put_escaped(writer *w, slice s);                         /* inside a JSON string; bytes that are no UTF-8 become U+FFFD */
void put_quoted(writer *w, slice s);

/* The length of the UTF-8 sequence at `at`: 1 to 4, or 0 when it is none (overlong, half characters, beyond U+10FFFF). */
uint32_t utf8_length(const char *at, const char *end);

#endif

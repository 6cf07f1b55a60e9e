/* Text in and out, without libc's formatted printing: a server of kilobytes has no room for it, and no use. */
#include "text.h"

#include <string.h>

slice slice_of(const char *text) {
    return (slice){text, strlen(text)};
}

bool same(slice a, slice b) {
    return a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool same_word(slice a, slice b) {
    if (a.bytes != b.bytes)
        return false;
    for (size_t i = 0; i < a.bytes; i++)
        if (lower(a.text[i]) != lower(b.text[i]))
            return false;
    return true;
}

void put(writer *w, const char *text, size_t bytes) {
    if (w->full || bytes > (size_t)(w->end - w->at)) {
        w->full = true;
        return;
    }
    memcpy(w->at, text, bytes);
    w->at += bytes;
}

void put_char(writer *w, char c) {
    if (w->full || w->at == w->end)
        w->full = true;
    else
        *w->at++ = c;
}

void put_text(writer *w, const char *text) {
    put(w, text, strlen(text));
}

void put_slice(writer *w, slice s) {
    put(w, s.text, s.bytes);
}

void put_u64(writer *w, uint64_t value) {
    char digits[20], *at = digits + sizeof digits;
    for (; value >> 32; value /= 10)
        *--at = (char)('0' + value % 10);
    uint32_t small = (uint32_t)value; /* divisions by constants are cheap in 32 bits on every processor */
    do
        *--at = (char)('0' + small % 10);
    while (small /= 10);
    put(w, at, (size_t)(digits + sizeof digits - at));
}

void put_i64(writer *w, int64_t value) {
    if (value < 0)
        put_char(w, '-');
    put_u64(w, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void put_padded(writer *w, uint32_t value, uint32_t digits) {
    uint32_t unit = 1;
    while (--digits)
        unit *= 10;
    for (; unit; unit /= 10)
        put_char(w, (char)('0' + value / unit % 10));
}

uint32_t utf8_length(const char *at, const char *end) {
    const unsigned char *c = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2 || c[0] > 0xf4)
        return 0;
    uint32_t length = c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (left < length)
        return 0;
    for (uint32_t i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    bool outside = (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf4 && c[1] > 0x8f);
    return overlong || outside ? 0 : length;
}

static void put_unit(writer *w, uint32_t unit) {
    static const char hex[] = "0123456789abcdef";
    const char text[6] = {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    put(w, text, sizeof text);
}

void put_escaped(writer *w, slice s) {
    const char *end = s.text + s.bytes;
    for (const char *at = s.text; at < end;) {
        unsigned char c = (unsigned char)*at;
        uint32_t length = utf8_length(at, end);
        if (length == 0)
            put_unit(w, 0xfffd);
        else if (c < 0x20 || c == 0x7f)
            put_unit(w, c);
        else if (c == '"' || c == '\\')
            put(w, c == '"' ? "\\\"" : "\\\\", 2);
        else
            put(w, at, length);
        at += length ? length : 1;
    }
}

void put_quoted(writer *w, slice s) {
    put_char(w, '"');
    put_escaped(w, s);
    put_char(w, '"');
}

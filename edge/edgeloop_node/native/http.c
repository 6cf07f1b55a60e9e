#include "http.h"

#include <string.h>

#include "fault.h"
#include "http_head.h"

enum { MAX_SIZE_LINE_BYTES = 256, MAX_TRAILER_BYTES = 8192 };

void http_begin(http_request *r) {
    memset(r, 0, sizeof *r);
}

int http_bad(http_request *r, int status, const char *text) {
    static const char *const forms[] = {"%s", "request: expected HTTP/1.1, got bytes that are not: %s"};
    r->status = (uint32_t)status;
    return refuse(status, forms[status == 400], text);
}

/* Takes `count` bytes out of the buffer at `place`. */
static void take_out(char *buffer, uint32_t *bytes, uint32_t place, uint32_t count) {
    memmove(buffer + place, buffer + place + count, *bytes - place - count);
    *bytes -= count;
}

static http_result feed_head(http_request *r, char *buffer, uint32_t *bytes) {
    while (r->seen == 0 && *bytes >= 2 && buffer[0] == '\r' && buffer[1] == '\n') /* a blank line before a request */
        take_out(buffer, bytes, 0, 2);
    const char *end = NULL;
    for (uint32_t at = r->seen > 3 ? r->seen - 3 : 0; !end && at + 4 <= *bytes; at++) {
        const char *line = memchr(buffer + at, '\r', *bytes - at);
        if (!line || (uint32_t)(line - buffer) + 4 > *bytes)
            break;
        at = (uint32_t)(line - buffer);
        if (memcmp(line, "\r\n\r\n", 4) == 0)
            end = line + 4;
    }
    r->seen = *bytes;
    uint32_t head = end ? (uint32_t)(end - buffer) : *bytes;
    if (head > HTTP_MAX_HEAD_BYTES) {
        http_bad(r, 431, "header: expected at most 16384 bytes, got more");
        return HTTP_BAD;
    }
    if (!end) {
        if (http_head_hopeless(buffer, *bytes)) {
            http_bad(r, 400, "head: expected a request line of HTTP/1.1 and lines that end with CR LF");
            return HTTP_BAD;
        }
        return HTTP_MORE;
    }
    r->head_bytes = head;
    if (http_head_read(r, buffer))
        return HTTP_BAD;
    r->phase = r->chunked ? IN_CHUNK_SIZE : IN_BODY;
    r->seen = head;
    r->oversized = !r->chunked && r->left > HTTP_MAX_BODY_BYTES;
    return HTTP_COMPLETE;
}

/* Of a body that is too large nothing is kept; beyond HTTP_MAX_DISCARDED_BYTES nothing more is read. */
static http_result feed_oversized(http_request *r, char *buffer, uint32_t *bytes) {
    uint32_t have = *bytes - r->head_bytes, take = have < r->left ? have : (uint32_t)r->left;
    take_out(buffer, bytes, r->head_bytes, take);
    r->left -= take;
    r->body_total += take;
    r->seen = r->head_bytes;
    r->body_bytes = 0;
    if (r->left > 0 && r->body_total <= HTTP_MAX_DISCARDED_BYTES && !r->expects)
        return HTTP_MORE;
    if (r->left > 0)
        r->close = true;
    r->phase = IN_NOTHING;
    return HTTP_COMPLETE;
}

static http_result feed_body(http_request *r, char *buffer, uint32_t *bytes) {
    if (r->oversized)
        return feed_oversized(r, buffer, bytes);
    uint32_t have = *bytes - r->seen, take = have < r->left ? have : (uint32_t)r->left;
    r->left -= take;
    r->seen += take;
    r->body_bytes += take;
    if (r->left > 0)
        return HTTP_MORE;
    r->phase = IN_NOTHING;
    return HTTP_COMPLETE;
}

/* The length of a line with its CR LF at buffer[from..bytes); 0: it is not complete. False: it is none. */
static bool whole_line(const char *buffer, uint32_t from, uint32_t bytes, uint32_t most, uint32_t *length) {
    uint32_t have = bytes - from < most ? bytes - from : most;
    const char *feed = memchr(buffer + from, '\n', have);
    *length = 0;
    if (!feed)
        return have < most;
    *length = (uint32_t)(feed - buffer) + 1 - from;
    return *length >= 2 && feed[-1] == '\r';
}

static bool size_read(const char *line, uint32_t length, uint64_t *size) {
    uint32_t digits = 0;
    for (*size = 0; digits < length; digits++) {
        char c = line[digits];
        int32_t value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (value < 0)
            break;
        *size = *size << 4 | (uint32_t)value;
    }
    if (digits == 0 || digits > 12)
        return false;
    if (digits < length && line[digits] != ';' && line[digits] != ' ' && line[digits] != '\t')
        return false;
    for (uint32_t i = digits; i < length; i++) /* an extension is read over */
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return false;
    return true;
}

static http_result bad_chunk(http_request *r) {
    http_bad(r, 400, "body: expected chunks, each with its size in hexadecimal digits, got others");
    return HTTP_BAD;
}

static http_result feed_size(http_request *r, char *buffer, uint32_t *bytes) {
    uint32_t length;
    if (!whole_line(buffer, r->seen, *bytes, MAX_SIZE_LINE_BYTES, &length))
        return bad_chunk(r);
    if (length == 0)
        return HTTP_MORE;
    if (!size_read(buffer + r->seen, length - 2, &r->left))
        return bad_chunk(r);
    if (++r->chunks > HTTP_FREE_CHUNKS + r->body_total / HTTP_LEAST_CHUNK_BYTES) { /* each one moves what lies behind it */
        http_bad(r, 400, "body: expected chunks of 64 bytes or more where there are thousands, got smaller ones");
        return HTTP_BAD;
    }
    take_out(buffer, bytes, r->seen, length);
    r->phase = r->left ? IN_CHUNK : IN_TRAILER;
    return HTTP_COMPLETE;
}

static http_result feed_chunk(http_request *r, char *buffer, uint32_t *bytes) {
    uint32_t have = *bytes - r->seen, take = have < r->left ? have : (uint32_t)r->left;
    r->left -= take;
    r->body_total += take;
    if (!r->oversized && r->body_total > HTTP_MAX_BODY_BYTES) {
        r->oversized = true;
        take += r->body_bytes;
        r->seen = r->head_bytes;
        r->body_bytes = 0;
    }
    if (r->oversized)
        take_out(buffer, bytes, r->seen, take);
    else {
        r->seen += take;
        r->body_bytes += take;
    }
    if (r->body_total > HTTP_MAX_DISCARDED_BYTES) {
        r->close = true;
        r->phase = IN_NOTHING;
        return HTTP_COMPLETE;
    }
    if (r->left > 0)
        return HTTP_MORE;
    r->phase = IN_CHUNK_END;
    return HTTP_COMPLETE;
}

static http_result feed_chunk_end(http_request *r, char *buffer, uint32_t *bytes) {
    uint32_t have = *bytes - r->seen;
    if ((have >= 1 && buffer[r->seen] != '\r') || (have >= 2 && buffer[r->seen + 1] != '\n'))
        return bad_chunk(r);
    if (have < 2)
        return HTTP_MORE;
    take_out(buffer, bytes, r->seen, 2);
    r->phase = IN_CHUNK_SIZE;
    return HTTP_COMPLETE;
}

static http_result feed_trailer(http_request *r, char *buffer, uint32_t *bytes) {
    uint32_t length;
    if (!whole_line(buffer, r->seen, *bytes, MAX_TRAILER_BYTES, &length))
        return bad_chunk(r);
    if (length == 0)
        return HTTP_MORE;
    take_out(buffer, bytes, r->seen, length);
    r->trailer_bytes += length;
    if (r->trailer_bytes > MAX_TRAILER_BYTES)
        return bad_chunk(r);
    r->phase = length == 2 ? IN_NOTHING : IN_TRAILER;
    return HTTP_COMPLETE;
}

http_result http_feed(http_request *r, char *buffer, uint32_t *bytes) {
    static http_result (*const feeds[])(http_request *, char *, uint32_t *) = {
        feed_head, feed_body, feed_size, feed_chunk, feed_chunk_end, feed_trailer,
    };
    http_result result = HTTP_COMPLETE;
    while (result == HTTP_COMPLETE && r->phase != IN_NOTHING)
        result = feeds[r->phase](r, buffer, bytes);
    return result;
}

uint64_t http_wants(const http_request *r, uint32_t bytes) {
    if (r->head_bytes && !r->chunked && !r->oversized)
        return r->head_bytes + r->body_bytes + r->left;
    return (uint64_t)bytes + 1;
}

static int32_t hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

slice http_decoded(slice text, char *room, bool plus) {
    size_t used = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.text[i];
        bool coded = c == '%' && i + 2 < text.bytes && hex(text.text[i + 1]) >= 0 && hex(text.text[i + 2]) >= 0;
        room[used++] = coded ? (char)(hex(text.text[i + 1]) << 4 | hex(text.text[i + 2])) : plus && c == '+' ? ' ' : c;
        i += coded ? 2 : 0;
    }
    return (slice){room, used};
}

slice http_path(const http_request *r, const char *buffer, char *room, slice *query) {
    slice target = {buffer + r->target, r->target_bytes};
    const char *mark = memchr(target.text, '?', target.bytes);
    *query = (slice){NULL, 0};
    if (mark) {
        *query = (slice){mark + 1, (size_t)(target.text + target.bytes - mark - 1)};
        target.bytes = (size_t)(mark - target.text);
    }
    return http_decoded(target, room, false);
}

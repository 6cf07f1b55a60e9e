/* The head of a request: its first line and its fields, by the strict grammar of RFC 9112. */
#include "http_head.h"

#include <string.h>

#include "fault.h"

enum { LONGEST_METHOD = 32 };

static bool is_token(char c) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr(others, c));
}

bool http_head_hopeless(const char *buffer, uint32_t bytes) {
    if (bytes && !is_token(buffer[0]) && buffer[0] != '\r')
        return true;
    for (const char *at = buffer, *end = buffer + bytes; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        if (at == buffer || at[-1] != '\r')
            return true;
    return false;
}

static slice trimmed(slice s) {
    while (s.bytes && (s.text[0] == ' ' || s.text[0] == '\t'))
        s = (slice){s.text + 1, s.bytes - 1};
    while (s.bytes && (s.text[s.bytes - 1] == ' ' || s.text[s.bytes - 1] == '\t'))
        s.bytes--;
    return s;
}

static bool whole_number(slice s, uint64_t *value) {
    *value = 0;
    for (size_t i = 0; i < s.bytes; i++) {
        if (s.text[i] < '0' || s.text[i] > '9')
            return false;
        *value = *value * 10 + (uint64_t)(s.text[i] - '0');
    }
    return s.bytes > 0 && s.bytes <= 15;
}

/* http://host/path, as proxies send it, is /path. */
static void without_host(http_request *r, const char *buffer) {
    const char *target = buffer + r->target, *end = target + r->target_bytes;
    size_t scheme = r->target_bytes > 7 && same_word((slice){target, 7}, SLICE("http://")) ? 7 : 0;
    if (!scheme)
        return;
    const char *path = target + scheme;
    while (path < end && *path != '/' && *path != '?')
        path++;
    r->target += (uint32_t)(path - target);
    r->target_bytes -= (uint32_t)(path - target);
}

static int first_line(http_request *r, const char *line, uint32_t bytes) {
    static const char text[] = "request line: expected METHOD /path HTTP/1.1";
    uint32_t at = 0;
    while (at < bytes && is_token(line[at]))
        at++;
    r->method_bytes = at;
    if (at == 0 || at > LONGEST_METHOD || at == bytes || line[at++] != ' ')
        return http_bad(r, 400, text);
    r->target = at;
    while (at < bytes && line[at] > 0x20 && line[at] < 0x7f)
        at++;
    r->target_bytes = at - r->target;
    slice version = {line + at, bytes - at};
    r->old = same(version, SLICE(" HTTP/1.0"));
    r->close = r->old;
    if (r->target_bytes == 0 || (!r->old && !same(version, SLICE(" HTTP/1.1"))))
        return http_bad(r, 400, text);
    without_host(r, line);
    return 0;
}

static int on_length(http_request *r, const char *buffer, slice value) {
    (void)buffer;
    if (r->has_length || !whole_number(value, &r->left))
        return http_bad(r, 400, "Content-Length: expected one whole number");
    r->has_length = true;
    return 0;
}

static int on_transfer(http_request *r, const char *buffer, slice value) {
    (void)buffer;
    if (r->chunked || r->old || !same_word(value, SLICE("chunked")))
        return http_bad(r, 400, "Transfer-Encoding: expected chunked, once, and HTTP/1.1");
    r->chunked = true;
    return 0;
}

static int on_host(http_request *r, const char *buffer, slice value) {
    (void)buffer;
    (void)value;
    if (r->has_host)
        return http_bad(r, 400, "Host: expected once");
    r->has_host = true;
    return 0;
}

static int on_connection(http_request *r, const char *buffer, slice value) {
    (void)buffer;
    while (value.bytes) {
        const char *comma = memchr(value.text, ',', value.bytes);
        size_t length = comma ? (size_t)(comma - value.text) : value.bytes;
        r->close |= same_word(trimmed((slice){value.text, length}), SLICE("close"));
        length += comma ? 1 : 0;
        value = (slice){value.text + length, value.bytes - length};
    }
    return 0;
}

static int on_expect(http_request *r, const char *buffer, slice value) {
    (void)buffer;
    if (!same_word(value, SLICE("100-continue")))
        return http_bad(r, 417, "Expect: expected 100-continue");
    r->expects = !r->old;
    return 0;
}

static int on_encoding(http_request *r, const char *buffer, slice value) {
    if (!same_word(value, SLICE("identity"))) {
        r->encoding = (uint32_t)(value.text - buffer);
        r->encoding_bytes = (uint32_t)value.bytes;
    }
    return 0;
}

static int on_json_bytes(http_request *r, const char *buffer, slice value) {
    if (!r->has_json) {
        r->json = (uint32_t)(value.text - buffer);
        r->json_bytes = (uint32_t)value.bytes;
    } else {
        r->json_again = (uint32_t)(value.text - buffer);
        r->json_again_bytes = (uint32_t)value.bytes + 1;
    }
    r->has_json = true;
    return 0;
}

static int field(http_request *r, const char *buffer, slice name, slice value) {
    static const struct {
        slice name;
        int (*take)(http_request *, const char *, slice);
    } known[] = {
        {SLICE("content-length"), on_length},
        {SLICE("transfer-encoding"), on_transfer},
        {SLICE("host"), on_host},
        {SLICE("connection"), on_connection},
        {SLICE("expect"), on_expect},
        {SLICE("content-encoding"), on_encoding},
        {SLICE("inference-header-content-length"), on_json_bytes},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same_word(name, known[i].name))
            return known[i].take(r, buffer, value);
    return 0;
}

static int field_line(http_request *r, const char *buffer, const char *line, uint32_t bytes) {
    uint32_t name = 0;
    while (name < bytes && is_token(line[name]))
        name++;
    if (name == 0 || name == bytes || line[name] != ':')
        return http_bad(r, 400, "field: expected name: value, without blanks before the name or the colon");
    for (uint32_t i = name + 1; i < bytes; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return http_bad(r, 400, "field: expected no control characters");
    return field(r, buffer, (slice){line, name}, trimmed((slice){line + name + 1, bytes - name - 1}));
}

static int together(http_request *r) {
    if (r->chunked && r->has_length)
        return http_bad(r, 400, "body: expected Content-Length or Transfer-Encoding, got both");
    if (!r->old && !r->has_host)
        return http_bad(r, 400, "Host: expected once");
    return 0;
}

int http_head_read(http_request *r, const char *buffer) {
    const char *at = buffer, *end = buffer + r->head_bytes - 2;
    for (int line = 0; at < end; line++) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        if (!feed || feed == at || feed[-1] != '\r')
            return http_bad(r, 400, "head: expected lines that end with CR LF");
        uint32_t bytes = (uint32_t)(feed - at) - 1;
        if (line ? field_line(r, buffer, at, bytes) : first_line(r, at, bytes))
            return (int)r->status;
        at = feed + 1;
    }
    return together(r);
}

/* Proves and walks JSON text. Refused: what RFC 8259 does not allow, bytes that are no UTF-8, and more than DEEPEST levels. */
#include "json.h"

#include <string.h>

#include "number.h"

enum { DEEPEST = 64 };

static const char *fault; /* what json_check found */

static const char *wrong(const char *what) {
    if (!fault)
        fault = what;
    return NULL;
}

const char *json_blanks(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

static const char *blanks_until(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

static int32_t hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_unit(const char *at, const char *end) {
    return end - at >= 4 && hex(at[0]) >= 0 && hex(at[1]) >= 0 && hex(at[2]) >= 0 && hex(at[3]) >= 0;
}

static const char *check_escape(const char *at, const char *end) {
    if (at == end)
        return wrong("a text has no end");
    if (*at == 'u')
        return is_unit(at + 1, end) ? at + 5 : wrong("four hexadecimal digits must follow \\u");
    return strchr("\"\\/bfnrt", *at) && *at ? at + 1 : wrong("no such escape in a text");
}

static const char *check_text(const char *at, const char *end) {
    while (at && at < end && *at != '"') {
        unsigned char c = (unsigned char)*at;
        if (c == '\\')
            at = check_escape(at + 1, end);
        else if (c < 0x20)
            return wrong("a control character in a text");
        else if (c < 0x80)
            at++;
        else {
            uint32_t length = utf8_length(at, end);
            if (!length)
                return wrong("a text is not UTF-8");
            at += length;
        }
    }
    if (!at)
        return NULL;
    return at < end ? at + 1 : wrong("a text has no end");
}

static const char *check_word(const char *at, const char *end) {
    static const char *const words[] = {"null", "true", "false"};
    static const char *const others[] = {"NaN", "Infinity", "-Infinity"};
    static const char *const texts[] = {"JSON has no NaN; a missing value is null", "JSON has no Infinity; a missing value is null",
                                        "JSON has no -Infinity; a missing value is null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(end - at) >= length && memcmp(at, words[i], length) == 0)
            return at + length;
    }
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(others[i]);
        if ((size_t)(end - at) >= length && memcmp(at, others[i], length) == 0)
            return wrong(texts[i]);
    }
    return wrong(at < end ? "a value expected" : "it ends where a value is expected");
}

static const char *check_value(const char *at, const char *end, int depth);

static const char *check_key(const char *at, const char *end) {
    at = blanks_until(at, end);
    if (at == end || *at != '"')
        return wrong("a key in double quotes expected");
    at = check_text(at + 1, end);
    if (!at)
        return NULL;
    at = blanks_until(at, end);
    return at < end && *at == ':' ? at + 1 : wrong("a colon expected after a key");
}

static const char *check_container(const char *at, const char *end, int depth) {
    bool object = *at == '{';
    char close = object ? '}' : ']';
    if (depth >= DEEPEST)
        return wrong("nested more than 64 deep");
    at = blanks_until(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;;) {
        if (object && !(at = check_key(at, end)))
            return NULL;
        at = check_value(at, end, depth + 1);
        if (!at)
            return NULL;
        at = blanks_until(at, end);
        if (at < end && *at == close)
            return at + 1;
        if (at == end || *at != ',')
            return wrong("a comma or a closing bracket expected");
        at++;
    }
}

static const char *check_value(const char *at, const char *end, int depth) {
    at = blanks_until(at, end);
    if (at == end)
        return wrong("it ends where a value is expected");
    if (*at == '{' || *at == '[')
        return check_container(at, end, depth);
    if (*at == '"')
        return check_text(at + 1, end);
    const char *after = number_skip(at, end);
    return after ? after : check_word(at, end);
}

const char *json_check(slice text) {
    const char *end = text.text + text.bytes, *at;
    fault = NULL;
    at = check_value(text.text, end, 0);
    if (at && blanks_until(at, end) != end)
        wrong("there is more after its end");
    return fault;
}

slice json_trim(slice text) {
    const char *end = text.text + text.bytes, *at = blanks_until(text.text, end);
    while (end > at && (end[-1] == ' ' || end[-1] == '\n' || end[-1] == '\r' || end[-1] == '\t'))
        end--;
    return (slice){at, (size_t)(end - at)};
}

static const char *pass_text(const char *at) {
    for (at++; *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at + 1;
}

const char *json_pass(const char *at) {
    if (*at == '"')
        return pass_text(at);
    if (*at != '{' && *at != '[') {
        while ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '.' || *at == '-' || *at == '+' || *at == 'E')
            at++;
        return at;
    }
    for (int depth = 0;;) {
        switch (*at) {
        case '"':
            at = pass_text(at);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return at + 1;
        }
        at++;
    }
}

bool json_is_whole(slice value) {
    if (!json_is_number(value))
        return false;
    for (size_t i = 0; i < value.bytes; i++)
        if (value.text[i] == '.' || value.text[i] == 'e' || value.text[i] == 'E')
            return false;
    return true;
}

json_walk json_enter(slice container) {
    json_walk walk = {container.text + 1, *container.text == '{', {NULL, 0}, {NULL, 0}};
    walk.at = json_blanks(walk.at);
    return walk;
}

bool json_next(json_walk *walk) {
    const char *at = walk->at;
    if (*at == ']' || *at == '}')
        return false;
    if (*at == ',')
        at = json_blanks(at + 1);
    if (walk->object) {
        walk->key.text = at;
        at = pass_text(at);
        walk->key.bytes = (size_t)(at - walk->key.text);
        at = json_blanks(json_blanks(at) + 1);
    }
    walk->value.text = at;
    at = json_pass(at);
    walk->value.bytes = (size_t)(at - walk->value.text);
    walk->at = json_blanks(at);
    return true;
}

size_t json_count(slice list) {
    size_t count = 0;
    for (json_walk walk = json_enter(list); json_next(&walk);)
        count++;
    return count;
}

static uint32_t unit_at(const char *at) {
    return (uint32_t)(hex(at[0]) << 12 | hex(at[1]) << 8 | hex(at[2]) << 4 | hex(at[3]));
}

/* The character of an escape (after its backslash); *at is moved behind it. */
static uint32_t unescaped(const char **at) {
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    char c = *(*at)++;
    if (c != 'u') {
        const char *known = strchr(names, c);
        return (uint32_t)(unsigned char)(known ? values[known - names] : c);
    }
    uint32_t unit = unit_at(*at);
    *at += 4;
    bool pair = unit >> 10 == 0x36 && (*at)[0] == '\\' && (*at)[1] == 'u' && unit_at(*at + 2) >> 10 == 0x37;
    if (!pair)
        return unit;
    unit = 0x10000 + ((unit & 0x3ff) << 10 | (unit_at(*at + 2) & 0x3ff));
    *at += 6;
    return unit;
}

static size_t encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(leads[length] | c);
    return length;
}

size_t json_decode(slice text, char *out, size_t room) {
    const char *at = text.text + 1, *end = text.text + text.bytes - 1;
    size_t used = 0;
    while (at < end) {
        char character[4] = {*at};
        size_t length = 1;
        if (*at++ == '\\')
            length = encode(unescaped(&at), character);
        if (length > room - used)
            return room + 1;
        memcpy(out + used, character, length);
        used += length;
    }
    return used;
}

bool json_equals(slice text, slice plain) {
    slice inner = {text.text + 1, text.bytes - 2};
    if (!memchr(inner.text, '\\', inner.bytes))
        return same(inner, plain);
    const char *at = inner.text, *end = inner.text + inner.bytes;
    size_t seen = 0;
    while (at < end) {
        char character[4] = {*at};
        size_t length = 1;
        if (*at++ == '\\')
            length = encode(unescaped(&at), character);
        if (length > plain.bytes - seen || memcmp(plain.text + seen, character, length) != 0)
            return false;
        seen += length;
    }
    return seen == plain.bytes;
}

size_t json_characters(slice text) {
    const char *at = text.text + 1, *end = text.text + text.bytes - 1;
    size_t count = 0;
    for (; at < end; count++) {
        if (*at == '\\') {
            at++;
            unescaped(&at);
        } else
            at += utf8_length(at, end);
    }
    return count;
}

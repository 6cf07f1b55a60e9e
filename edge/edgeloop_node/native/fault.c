/* Composes error texts in one fixed buffer; a text too long for it is cut. */
#include "fault.h"

#include <stdarg.h>
#include <string.h>

#include "json.h"
#include "nearest.h"
#include "number.h"

enum { ROOM = 8192, SHOWN = 60, CUT = 100 };

static char room[ROOM];
static writer fault;

static slice cut(slice s, size_t most) {
    const char *at = s.text, *end = s.text + s.bytes;
    while (at < end) {
        uint32_t length = utf8_length(at, end);
        length = length ? length : 1;
        if ((size_t)(at - s.text) + length > most)
            break;
        at += length;
    }
    return (slice){s.text, (size_t)(at - s.text)};
}

static slice decoded(slice token) {
    static char text[4 * CUT];
    size_t bytes = json_decode(token, text, sizeof text);
    if (bytes > sizeof text) /* longer than anybody wants to read: its beginning as it is spelled */
        return cut((slice){token.text + 1, token.bytes - 2}, CUT);
    return cut((slice){text, bytes}, CUT);
}

static void put_shown(slice value) {
    if (value.bytes == 0)
        put_text(&fault, "null");
    else if (json_is_object(value))
        put_text(&fault, "an object");
    else if (json_is_list(value)) {
        put_text(&fault, "a list of ");
        put_u64(&fault, json_count(value));
    } else if (value.bytes <= SHOWN)
        put_slice(&fault, value);
    else {
        put_slice(&fault, cut(value, SHOWN - 3));
        put_text(&fault, "...");
    }
}

static void put_place(int64_t row) {
    if (row < 0)
        return;
    put_text(&fault, "rows[");
    put_i64(&fault, row);
    put_text(&fault, "].");
}

static void put_argument(char kind, va_list *arguments) {
    slice name;
    const slice *known;
    switch (kind) {
    case 's':
        put_text(&fault, va_arg(*arguments, const char *));
        return;
    case 't':
        put_slice(&fault, cut(va_arg(*arguments, slice), CUT));
        return;
    case 'k':
        put_slice(&fault, decoded(va_arg(*arguments, slice)));
        return;
    case 'j':
        put_shown(va_arg(*arguments, slice));
        return;
    case 'u':
        put_u64(&fault, va_arg(*arguments, uint64_t));
        return;
    case 'f': {
        double value = va_arg(*arguments, double);
        if (value - value == 0)
            put_double(&fault, value);
        else
            put_text(&fault, value != value ? "NaN" : value > 0 ? "inf" : "-inf");
        return;
    }
    case 'w':
        put_place(va_arg(*arguments, int64_t));
        return;
    default: /* 'n' and 'm' */
        name = va_arg(*arguments, slice);
        known = va_arg(*arguments, const slice *);
        put_nearest(&fault, kind == 'm' ? decoded(name) : name, known, va_arg(*arguments, uint32_t));
    }
}

int refuse(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fault = writer_on(room, sizeof room);
    for (const char *at = format; *at; at++) {
        if (*at == '%')
            put_argument(*++at, &arguments);
        else
            put_char(&fault, *at);
    }
    va_end(arguments);
    return status;
}

slice fault_text(void) {
    return written(&fault);
}

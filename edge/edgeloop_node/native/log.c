/* A stderr that nobody reads any more must not stop the server, so a line that cannot be written is lost. */
#include "log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "moment.h"

static char line[4096];
static writer w;

writer *log_begin(const char *level, const char *what) {
    w = writer_on(line, sizeof line - 2);
    put_text(&w, "{\"time\":\"");
    put_moment(&w, (int64_t)(unix_s() * 1000));
    put_text(&w, "\",\"level\":\"");
    put_text(&w, level);
    put_text(&w, "\",\"what\":");
    put_quoted(&w, slice_of(what));
    return &w;
}

static void put_name(const char *name) {
    put_char(&w, ',');
    put_quoted(&w, slice_of(name));
    put_char(&w, ':');
}

void log_text(const char *name, slice value) {
    writer before = w;
    put_name(name);
    put_quoted(&w, value);
    if (w.full)
        w = before;
}

void log_number(const char *name, int64_t value) {
    put_name(name);
    put_i64(&w, value);
}

void log_end(void) {
    *w.at++ = '}';
    *w.at++ = '\n';
    ssize_t ignored = write(2, line, (size_t)(w.at - line));
    (void)ignored;
}

void log_error(const char *level, const char *what, const char *where) {
    const char *error = strerror(errno);
    log_begin(level, what);
    log_text("file", slice_of(where));
    log_text("error", slice_of(error));
    log_end();
}

/* Log lines: one JSON object a line on stderr. log_begin(...), members, log_end(). */
#ifndef EDGELOOP_LOG_H
#define EDGELOOP_LOG_H

#include "text.h"

writer *log_begin(const char *level, const char *what);
void log_text(const char *name, slice value);
void log_number(const char *name, int64_t value);
void log_end(void);

/* One line with the text of errno. */
void log_error(const char *level, const char *what, const char *where);

#endif

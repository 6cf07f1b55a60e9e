/* What is wrong with a request: a status and a text that names the place, what was expected, and what came. */
#ifndef EDGELOOP_FAULT_H
#define EDGELOOP_FAULT_H

#include "text.h"

/* Keeps the text and gives back `status`, so that a reader can end with `return refuse(400, ...)`. In the format:
   %s a text, %t a slice (cut), %k a JSON string decoded (cut), %j a JSON value as a reader sees it (empty: null),
   %u a uint64_t, %f a double, %w a row's place ("rows[3]." or nothing for -1; int64_t),
   %n the nearest of known names (the slice, a slice array and its uint32_t length), %m the same for a JSON string */
int refuse(int status, const char *format, ...);

slice fault_text(void);

#endif

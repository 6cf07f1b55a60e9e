/* Times: ISO 8601 texts to Unix seconds, and Unix seconds to the text of a log line. */
#ifndef EDGELOOP_MOMENT_H
#define EDGELOOP_MOMENT_H

#include "text.h"

/* Whether `text` is a time as Python's datetime.fromisoformat takes it; one without a zone is UTC. */
bool moment_read(slice text, double *seconds);

void put_moment(writer *w, int64_t milliseconds); /* since 1970 */

#endif

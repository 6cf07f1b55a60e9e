/* Answers as the bytes of HTTP, put together in `output`. */
#ifndef EDGELOOP_ANSWER_H
#define EDGELOOP_ANSWER_H

#include "http.h"

/* Appends the answer to output[*from..*to). True: the connection ends with it. */
bool answer_write(const http_request *r, char *bytes, http_result result, bool is_private, bool last, uint32_t *from, uint32_t *to);

void answer_time_out(bool starved, uint32_t *from, uint32_t *to);

#endif

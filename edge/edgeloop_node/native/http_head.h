#ifndef EDGELOOP_HTTP_HEAD_H
#define EDGELOOP_HTTP_HEAD_H

#include "http.h"

int http_head_read(http_request *r, const char *buffer);        /* 0, or the status of what is wrong */
bool http_head_hopeless(const char *buffer, uint32_t bytes);    /* nothing that begins so can become a head */
int http_bad(http_request *r, int status, const char *text);

#endif

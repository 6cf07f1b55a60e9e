/* One client: what it has sent of a request, what it has not yet taken of an answer, and until when it may take. */
#ifndef EDGELOOP_CONNECTION_H
#define EDGELOOP_CONNECTION_H

#include "buffers.h"
#include "http.h"

enum { REQUEST_LIMIT_MS = 10000, KEEP_ALIVE_MS = 75000, WRITE_LIMIT_MS = 60000, LINGER_MS = 2000 };

typedef struct {
    int fd;
    bool used, is_private;
    bool partial;     /* a request has begun */
    bool idle;        /* it has had an answer and asks nothing */
    bool ends;        /* nothing more is read; closes when all is written */
    bool lingers;     /* written and shut down: reads to the end, so that the client sees the answer */
    bool starved;     /* waits for a larger buffer */
    bool continued;   /* 100 Continue was sent */
    uint32_t events;  /* what epoll watches */
    http_request http;
    buffer in, out;
    uint32_t in_bytes, out_from, out_bytes;
    int64_t deadline_ms, write_end_ms;
} connection;

extern connection connections[SLOTS];
extern uint32_t public_count, private_count;
extern uint64_t answered_count; /* requests over public connections */
extern bool draining;           /* every answer says that the connection closes */

void connections_setup(int epoll); /* the set that watches them */
connection *connection_open(int fd, bool is_private); /* NULL: too many; closed with 503 */
void connection_close(connection *c);
void connection_event(connection *c, uint32_t events);
void connection_resume(connection *c); /* handles what is buffered, after a change of binaries */
void connections_feed(void);            /* gives buffers that became free to those that wait for one */
void connections_sweep(int64_t now_ms); /* time limits */

#endif

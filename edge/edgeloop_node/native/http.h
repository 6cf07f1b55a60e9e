/* HTTP/1.1 requests, read as their bytes come, in place. Pure: no sockets, no clock.

   A buffer begins with the first byte of a request. http_feed looks at what is new in it. When the request is complete, its
   body lies right behind its head (a chunked one is joined there), and what follows belongs to the next request. Whatever
   two readers could understand differently is refused: both lengths, two lengths, folded lines, bare line feeds, names with
   blanks. */
#ifndef EDGELOOP_HTTP_H
#define EDGELOOP_HTTP_H

#include "text.h"

enum {
    HTTP_MAX_HEAD_BYTES = 16 * 1024,
    HTTP_MAX_BODY_BYTES = 1024 * 1024,
    HTTP_FREE_CHUNKS = 4096, HTTP_LEAST_CHUNK_BYTES = 64, /* beyond so many, chunks must have this size on average */
    HTTP_MAX_DISCARDED_BYTES = 16 * 1024 * 1024, /* of a body that is too large: read so that the client sees the answer */
};

typedef enum { HTTP_MORE, HTTP_COMPLETE, HTTP_BAD } http_result;
typedef enum { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILER, IN_NOTHING } http_phase;

typedef struct {
    uint32_t phase;      /* http_phase */
    uint32_t seen;       /* bytes of the buffer that need no second look */
    uint32_t head_bytes; /* 0 while the head is not complete */
    uint32_t body_bytes; /* of the body, as far as they lie behind the head */
    uint32_t target, target_bytes, method_bytes;
    uint32_t status;          /* of what is wrong; the text is in fault_text() */
    uint32_t trailer_bytes;
    uint32_t chunks;
    uint64_t left;            /* bytes of the body, or of the chunk, that have not come */
    uint64_t body_total;      /* with those that were thrown away */
    uint32_t json, json_bytes, json_again, json_again_bytes; /* Inference-Header-Content-Length; 0 bytes: no second one */
    uint32_t encoding, encoding_bytes; /* where an unusable content-encoding stands; 0 bytes: there is none */
    bool close, old, expects, chunked, has_length, has_host, has_json, oversized;
} http_request;

void http_begin(http_request *r);

/* Looks at buffer[0..*bytes); may move bytes within it and shorten it. HTTP_BAD: answer r->status and close. */
http_result http_feed(http_request *r, char *buffer, uint32_t *bytes);

/* Bytes of a complete request in its buffer. */
static inline uint32_t http_bytes(const http_request *r) {
    return r->head_bytes + r->body_bytes;
}

/* How large a buffer must be for what is known to come. */
uint64_t http_wants(const http_request *r, uint32_t bytes);

/* The target's path, percent-decoded into `room` (as long as the target), and its query. */
slice http_path(const http_request *r, const char *buffer, char *room, slice *query);
slice http_decoded(slice text, char *room, bool plus); /* percent-decoding; `plus`: a plus is a blank */

#endif

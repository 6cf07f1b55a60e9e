/* The answers to requests, decided without sockets. */
#ifndef EDGELOOP_SERVICE_H
#define EDGELOOP_SERVICE_H

#include "text.h"

typedef struct {
    slice method, path, query, body;
    slice json_length;  /* Inference-Header-Content-Length; no text: all of the body is JSON */
    uint64_t began_ns;
    bool private_socket; /* whose reader may confirm what it has stored */
} service_request;

typedef struct {
    int status;
    const char *content_type;
    const char *allow;  /* NULL: none */
    int64_t json_bytes; /* of the body before binary tensors, or -1 */
} service_answer;

/* Who serves: what every report says. */
typedef struct {
    slice node, group, image;
    char boot[13];
} identity;

extern identity who;
extern bool service_ready; /* false while it drains */

void service_new_boot(void);

/* Writes the body of the answer. */
service_answer service_handle(const service_request *request, writer *body);

/* Writes fault_text() as the answer to a request of that path that was refused before it was handled. */
service_answer service_refuse(slice path, int status, writer *body);

/* Handlers: the status; when it is not 200, fault_text() says why. */
int score(const service_request *request, writer *body);
int infer(const service_request *request, writer *body, service_answer *answer);
int window_read(const service_request *request, writer *body);

void metrics_count(uint32_t route, int status);
void metrics_write(writer *body);

/* The document of a request: a JSON object. 0, or 400 with a fault. */
int document_of(slice body, slice *document);

typedef enum { ROUTE_INFER, ROUTE_LIVE, ROUTE_METRICS, ROUTE_MODEL, ROUTE_MODEL_READY, ROUTE_READY, ROUTE_SCORE, ROUTE_UNKNOWN,
               ROUTE_V2, ROUTE_WINDOW, ROUTES } route_name;

#endif

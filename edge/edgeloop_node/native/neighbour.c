#define _GNU_SOURCE
#include "neighbour.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "document.h"
#include "fault.h"
#include "json.h"
#include "listen.h"
#include "output.h"

enum { PATIENCE_MS = 200, ANSWER_MOST = 65536 };

/* All that comes until the other side closes, or patience ends. */
static slice answer_of(int fd) {
    static const char request[] = "GET /v2 HTTP/1.0\r\nHost: node\r\n\r\n";
    int64_t end_ms = monotonic_ms() + PATIENCE_MS;
    size_t used = 0;
    ssize_t got = send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    while (got > 0 && used < ANSWER_MOST && monotonic_ms() < end_ms) {
        got = recv(fd, output + used, ANSWER_MOST - used, 0);
        used += got > 0 ? (size_t)got : 0;
    }
    return (slice){output, used};
}

static slice member(slice object, slice name) {
    if (json_is_object(object))
        for (json_walk walk = json_enter(object); json_next(&walk);)
            if (json_equals(walk.key, name))
                return walk.value;
    return (slice){NULL, 0};
}

/* The model of an answer to GET /v2, as JSON; empty when it is no server of edgeloop. */
static slice model_in(slice answer) {
    static const char blank[] = "\r\n\r\n";
    const char *body = memmem(answer.text, answer.bytes, blank, sizeof blank - 1);
    if (!body)
        return (slice){NULL, 0};
    body += sizeof blank - 1;
    slice document = {body, answer.bytes - (size_t)(body - answer.text)};
    if (json_check(document))
        return (slice){NULL, 0};
    document = json_trim(document);
    slice name = member(document, SLICE("name")), model = member(member(document, SLICE("parameters")), SLICE("model"));
    return json_is_text(name) && json_equals(name, SLICE("edgeloop-node")) && json_is_text(model) ? model : (slice){NULL, 0};
}

bool neighbour_is_stranger(const char *host, int port) {
    int fd = dial_tcp(host, port, PATIENCE_MS);
    if (fd < 0)
        return false;
    slice model = model_in(answer_of(fd));
    close(fd);
    if (!model.bytes || json_equals(model, data_loop))
        return false;
    refuse(0, "port %u: expected a port of this model, %t, or a free one, found a server of the model %k: choose another --port",
           (uint64_t)port, data_loop, model);
    return true;
}

/* Reads requests, writes answers, never waits for a client. An answer that a client does not take at once is kept, and the
   connection's next request is not looked at before it is gone. */
#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "clock.h"
#include "log.h"
#include "memory.h"

enum { AREA_BYTES = MEDIUM_BYTES, LARGE_OUTPUT = 16384 };

connection connections[SLOTS];
uint32_t public_count, private_count;
uint64_t answered_count;
bool draining;

static char area[AREA_BYTES];
static int epoll;
static bool freed; /* a buffer was given back: those that starve may look again */

void connections_setup(int set) {
    epoll = set;
}

static void watch(connection *c) {
    uint32_t events = c->out_bytes ? EPOLLOUT : c->starved ? 0 : EPOLLIN;
    struct epoll_event event = {.events = events, .data = {.ptr = c}};
    if (events != c->events)
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->events = events;
}

static void refuse_connection(int fd) {
    char head[256];
    writer w = writer_on(head, sizeof head);
    put_text(&w, "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 55\r\n\r\n"
                 "{\"error\":\"connections: expected at most 512, got more\"}");
    ssize_t ignored = send(fd, head, written(&w).bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    close(fd);
}

connection *connection_open(int fd, bool is_private) {
    uint32_t *count = is_private ? &private_count : &public_count;
    connection *c = connections;
    while (c < connections + SLOTS && c->used)
        c++;
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = c}};
    bool room = c < connections + SLOTS && *count < (is_private ? MOST_PRIVATE : MOST_CONNECTIONS);
    if (!room || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
        refuse_connection(fd);
        return NULL;
    }
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->used = true;
    c->is_private = is_private;
    c->events = EPOLLIN;
    c->deadline_ms = monotonic_ms() + REQUEST_LIMIT_MS;
    http_begin(&c->http);
    ++*count;
    return c;
}

static void give(buffer *b) {
    freed |= b->start != NULL;
    buffer_give(b);
}

void connection_close(connection *c) {
    give(&c->in);
    give(&c->out);
    close(c->fd);
    --*(c->is_private ? &private_count : &public_count);
    c->used = false;
}

/* Everything is written: either the next request, or the end. False: the connection is gone. */
static bool written_out(connection *c) {
    if (!c->ends)
        return true;
    if (!c->lingers && shutdown(c->fd, SHUT_WR) == 0) {
        c->lingers = true;
        c->deadline_ms = monotonic_ms() + LINGER_MS;
        return true;
    }
    connection_close(c);
    return false;
}

/* Sends output[from..to); keeps what the client does not take now. False: the connection is gone. */
static bool flush(connection *c, uint32_t from, uint32_t to) {
    if (from == to)
        return true;
    ssize_t sent = send(c->fd, output + from, to - from, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        connection_close(c);
        return false;
    }
    from += sent > 0 ? (uint32_t)sent : 0;
    if (from < to) {
        if (!buffer_take(&c->out, to - from)) {
            log_begin("warning", "an answer is cut: every large buffer waits for a slow client");
            log_end();
            connection_close(c);
            return false;
        }
        memcpy(c->out.start, output + from, to - from);
        c->out_from = 0;
        c->out_bytes = to - from;
        int64_t now_ms = monotonic_ms();
        c->write_end_ms = now_ms + WRITE_LIMIT_MS;
        c->deadline_ms = now_ms + REQUEST_LIMIT_MS;
    }
    if (to > LARGE_OUTPUT)
        memory_release(output, to);
    return c->out_bytes ? true : written_out(c);
}

static bool write_kept(connection *c) {
    ssize_t sent = send(c->fd, c->out.start + c->out_from, c->out_bytes - c->out_from, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return true;
        connection_close(c);
        return false;
    }
    c->out_from += (uint32_t)sent;
    int64_t later_ms = monotonic_ms() + REQUEST_LIMIT_MS;
    c->deadline_ms = later_ms < c->write_end_ms ? later_ms : c->write_end_ms;
    if (c->out_from < c->out_bytes)
        return true;
    give(&c->out);
    c->out_from = c->out_bytes = 0;
    return written_out(c);
}

/* Keeps the bytes of an unfinished request. False: there is no room, which only happens to those that have a buffer. */
static bool keep(connection *c, const char *bytes, uint32_t count) {
    uint64_t wanted = http_wants(&c->http, count);
    buffer before = c->in;
    if (before.start && before.room >= wanted) {
        memmove(before.start, bytes, count);
        c->in_bytes = count;
        return true;
    }
    if (!buffer_take(&c->in, wanted) && !before.start)
        buffer_take(&c->in, (uint64_t)count);
    if (c->in.start != before.start) {
        memcpy(c->in.start, bytes, count);
        give(&before);
    } else if (c->in.start)
        memmove(c->in.start, bytes, count);
    c->in_bytes = count;
    return c->in.start && c->in.room > count;
}

static void send_continue(connection *c) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    ssize_t ignored = send(c->fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    c->continued = true;
}

static void set_state(connection *c, uint32_t left, bool answered) {
    bool began = left > 0;
    if (answered || began != c->partial)
        c->deadline_ms = monotonic_ms() + (began ? REQUEST_LIMIT_MS : KEEP_ALIVE_MS);
    c->partial = began;
    c->idle = !began && (c->idle || answered);
}

/* Handles the requests in bytes[0..count), which lie in the connection's buffer or in the reading area. */
static void process(connection *c, char *bytes, uint32_t count) {
    uint32_t done = 0, from = 0, to = 0;
    bool answered = false;
    http_result result = HTTP_MORE;
    while (done < count && !c->ends && !c->out_bytes) {
        uint32_t left = count - done;
        result = http_feed(&c->http, bytes + done, &left);
        count = done + left;
        if (result == HTTP_MORE)
            break;
        bool ends = answer_write(&c->http, bytes + done, result, c->is_private, draining, &from, &to);
        answered = true;
        answered_count += !c->is_private;
        done += result == HTTP_COMPLETE ? http_bytes(&c->http) : left;
        c->continued = false;
        http_begin(&c->http);
        c->ends = ends;
        if (to > LARGE_OUTPUT && !c->ends) {
            if (!flush(c, from, to))
                return;
            from = to = 0;
        }
    }
    uint32_t left = c->ends ? 0 : count - done;
    set_state(c, left, answered);
    if (left == 0) {
        give(&c->in);
        c->in_bytes = 0;
    } else if (c->http.expects && !c->continued && result == HTTP_MORE && c->http.head_bytes && from == to)
        send_continue(c);
    c->starved = left > 0 && !keep(c, bytes + done, left);
    if (flush(c, from, to))
        watch(c);
}

static void discard(connection *c) {
    ssize_t got = recv(c->fd, area, sizeof area, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        connection_close(c);
}

static void receive(connection *c) {
    char *place = c->in.start ? c->in.start + c->in_bytes : area;
    size_t room = c->in.start ? c->in.room - c->in_bytes : buffer_medium_free() ? AREA_BYTES : SMALL_BYTES - 1;
    ssize_t got = recv(c->fd, place, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        connection_close(c);
        return;
    }
    if (c->in.start)
        process(c, c->in.start, c->in_bytes + (uint32_t)got);
    else
        process(c, area, (uint32_t)got);
}

void connection_resume(connection *c) {
    if (c->in_bytes && !c->out_bytes)
        process(c, c->in.start, c->in_bytes);
    else
        watch(c);
}

void connection_event(connection *c, uint32_t events) {
    if (!c->used)
        return;
    if (c->out_bytes) {
        if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT)) {
            connection_close(c);
            return;
        }
        if (write_kept(c))
            connection_resume(c);
    } else if (c->lingers)
        discard(c);
    else if (c->starved && events & (EPOLLERR | EPOLLHUP))
        connection_close(c);
    else
        receive(c);
}

static void feed_starved(connection *c) {
    buffer before = c->in;
    if (!buffer_take(&c->in, http_wants(&c->http, c->in_bytes)))
        return;
    memcpy(c->in.start, before.start, c->in_bytes);
    give(&before);
    c->starved = false;
    watch(c);
}

static void time_out(connection *c) {
    bool silent = c->out_bytes || c->lingers || c->idle;
    if (silent) {
        connection_close(c);
        return;
    }
    uint32_t from = 0, to = 0;
    answer_time_out(c->starved, &from, &to);
    c->ends = true;
    c->starved = false;
    give(&c->in);
    c->in_bytes = 0;
    if (flush(c, from, to))
        watch(c);
}

void connections_feed(void) {
    for (connection *c = connections; freed && c < connections + SLOTS; c++)
        if (c->used && c->starved)
            feed_starved(c);
    freed = false;
}

void connections_sweep(int64_t now_ms) {
    for (connection *c = connections; c < connections + SLOTS; c++)
        if (c->used && now_ms > c->deadline_ms)
            time_out(c);
}

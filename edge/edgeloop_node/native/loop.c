/* One thread, one set of file descriptors. Signals arrive in it like everything else, so none is missed between a test and a
   wait. SIGTERM: connections that wait are taken, the listener closes, every answer says `Connection: close`, and the process
   leaves when all are gone or nobody has asked anything for a while. */
#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "entry.h"
#include "log.h"
#include "monitor.h"
#include "service.h"
#include "swap.h"

enum { SWEEP_MS = 1000, DRAIN_STEP_MS = 20, QUIET_MS = 2000, DRAIN_LIMIT_MS = 15000, EVENTS = 64, CANNOT_SERVE = 1 };

listeners doors = {-1, -1};

static int epoll, signals;
static int64_t drain_began_ms, quiet_since_ms, swept_ms;
static uint64_t seen_answers;
static bool full; /* accept said that there are no more file descriptors: not again before the next sweep */

static void watch(int fd, void *who_it_is, uint32_t events) {
    struct epoll_event event = {.events = events, .data = {.ptr = who_it_is}};
    if (fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event))
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void watch_doors(uint32_t events) {
    watch(doors.public_fd, &doors.public_fd, events);
    watch(doors.private_fd, &doors.private_fd, events);
}

static void accept_at(int door, bool is_private) {
    for (int fd = 0; door >= 0;) {
        fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            connection_open(fd, is_private);
        else if (errno == EAGAIN || errno == EINVAL || errno == EBADF)
            return;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            full = true;
            watch_doors(0);
            return;
        }
    }
}

void loop_accept(void) {
    accept_at(doors.public_fd, false);
    accept_at(doors.private_fd, true);
}

static void signal_set(sigset_t *set) {
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    sigemptyset(set);
    for (int i = 0; i < 4; i++)
        sigaddset(set, wanted[i]);
}

static bool setup(void) {
    sigset_t set;
    signal_set(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (epoll < 0 || signals < 0)
        return false;
    watch(signals, &signals, EPOLLIN);
    watch_doors(EPOLLIN);
    connections_setup(epoll);
    return true;
}

static void drain(void) {
    log_begin("info", "stopping: draining connections");
    log_number("connections", public_count);
    log_end();
    service_ready = false;
    draining = true;
    swap_forget();
    accept_at(doors.public_fd, false);
    close(doors.public_fd);
    doors.public_fd = -1;
    drain_began_ms = quiet_since_ms = monotonic_ms();
    seen_answers = answered_count;
}

static bool drained(void) {
    int64_t now_ms = monotonic_ms();
    if (answered_count != seen_answers) {
        seen_answers = answered_count;
        quiet_since_ms = now_ms;
    }
    return public_count == 0 || now_ms - quiet_since_ms > QUIET_MS || now_ms - drain_began_ms > DRAIN_LIMIT_MS;
}

static void on_signals(void) {
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            swap_child();
        else if (info.ssi_signo != SIGHUP && !draining)
            drain();
        else if (info.ssi_signo == SIGHUP && !draining)
            swap_begin();
    }
}

static void put_entry_back(void) {
    log_begin("warning", "the entry in the run folder was gone: writing it again");
    log_text("file", slice_of(entry_path()));
    log_end();
    int fd = entry_listen();
    if (fd < 0 || !entry_write()) {
        log_error("error", "the entry cannot be written", entry_path());
        if (fd >= 0)
            close(fd);
        return;
    }
    close(doors.private_fd);
    doors.private_fd = fd;
    watch_doors(EPOLLIN);
}

static void keep_house(void) {
    int64_t now_ms = monotonic_ms();
    if (now_ms - swept_ms < SWEEP_MS)
        return;
    swept_ms = now_ms;
    connections_sweep(now_ms);
    swap_sweep(now_ms);
    if (full && !draining)
        watch_doors(EPOLLIN);
    full = false;
    if (!draining && entry_missing())
        put_entry_back();
}

static void handle(const struct epoll_event *event) {
    void *who_it_is = event->data.ptr;
    if (who_it_is == &signals)
        on_signals();
    else if (who_it_is == &doors.public_fd)
        accept_at(doors.public_fd, false);
    else if (who_it_is == &doors.private_fd)
        accept_at(doors.private_fd, true);
    else
        connection_event(who_it_is, event->events);
}

static int leave(void) {
    uint64_t left = 0;
    for (connection *c = connections; c < connections + SLOTS; c++)
        if (c->used)
            connection_close(c);
    bool kept = entry_leave_counts();
    if (!kept)
        log_error("error", "the counts that nobody has read are lost", entry_path());
    for (uint64_t after = monitor_confirmed(); monitor_next(after); left++)
        after = monitor_next(after)->sequence;
    entry_remove(who.boot);
    log_begin("info", "stopped");
    log_number("rows", (int64_t)totals.rows);
    log_number("reports_left", (int64_t)left);
    log_end();
    return kept ? 0 : CANNOT_SERVE;
}

int loop_run(void) {
    struct epoll_event events[EVENTS];
    if (!setup()) {
        log_error("error", "cannot serve", "epoll");
        return CANNOT_SERVE;
    }
    for (connection *c = connections; c < connections + SLOTS; c++) /* those that another binary handed over */
        if (c->used)
            swap_watch(epoll, c);
    swap_adopted();
    while (!draining || !drained()) {
        int count = epoll_wait(epoll, events, EVENTS, draining ? DRAIN_STEP_MS : SWEEP_MS);
        for (int i = 0; i < count; i++)
            handle(&events[i]);
        connections_feed();
        keep_house();
    }
    return leave();
}

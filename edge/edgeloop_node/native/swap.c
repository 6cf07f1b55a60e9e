/* On SIGHUP the binary that now stands at our path is opened, and that very file is tested by its own self-test in a child;
   a bad one is refused and the old one goes on. Then this process becomes it: counts that nobody has read are left behind
   under the old boot id, and listeners, connections and what is half received go over in a file in memory, whose number is in
   the environment. The state is only understood by a binary with the same layout; another one gets the listeners, and the
   connections that are open end. */
#define _GNU_SOURCE
#include "swap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "entry.h"
#include "files.h"
#include "log.h"
#include "loop.h"
#include "service.h"

#define VARIABLE "EDGELOOP_SWAP="

enum { LAYOUT = 1, TEST_LIMIT_MS = 10000, MOST_VARIABLES = 512, MOST_FILES = 4096 };

typedef struct {
    uint32_t layout, connection_bytes;
    int32_t public_fd, private_fd;
    uint32_t count;
    char boot[16], path[LONGEST_PATH];
} handover;

extern char **environ;

static char path[LONGEST_PATH], old_boot[16];
static char **arguments;
static int old_private = -1, binary = -1;
static pid_t tester;
static int64_t test_end_ms;

void swap_setup(char **words) {
    arguments = words;
    if (path[0])
        return; /* from the binary before: ours may have been replaced already */
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0)
        path[length] = 0;
    else
        strncpy(path, words[0], sizeof path - 1);
}

static void refused(const char *why) {
    log_begin("error", "the new binary is refused: the old one goes on");
    log_text("file", slice_of(path));
    log_text("error", slice_of(why));
    log_end();
    close(binary);
    binary = -1;
}

static void become(int file, char **words, char **variables) {
    syscall(SYS_execveat, file, "", words, variables, AT_EMPTY_PATH);
}

void swap_begin(void) {
    if (tester > 0)
        return;
    binary = open(path, O_RDONLY | O_CLOEXEC);
    if (binary < 0) {
        refused(strerror(errno));
        return;
    }
    log_begin("info", "testing the new binary");
    log_text("file", slice_of(path));
    log_end();
    tester = fork();
    if (tester == 0) {
        char *words[] = {path, "selftest", NULL};
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(2, 1);
        become(binary, words, environ);
        _exit(127);
    }
    if (tester < 0)
        refused(strerror(errno));
    test_end_ms = monotonic_ms() + TEST_LIMIT_MS;
}

void swap_forget(void) {
    if (tester <= 0)
        return;
    kill(tester, SIGKILL);
    tester = 0;
    refused("this process was told to stop");
}

void swap_sweep(int64_t now_ms) {
    if (tester > 0 && now_ms > test_end_ms)
        kill(tester, SIGKILL);
}

static bool save(int file, const void *bytes, size_t count) {
    return file_part(file, (slice){bytes, count});
}

static bool save_all(int file) {
    handover h = {LAYOUT, sizeof(connection), doors.public_fd, doors.private_fd, public_count + private_count, {0}, {0}};
    memcpy(h.boot, who.boot, sizeof who.boot);
    memcpy(h.path, path, sizeof path);
    bool done = save(file, &h, sizeof h);
    for (const connection *c = connections; done && c < connections + SLOTS; c++) {
        int32_t head[3] = {c->fd, c->is_private, !c->partial && !c->out_bytes && !c->ends};
        if (!c->used)
            continue;
        done = save(file, head, sizeof head) && save(file, c, sizeof *c) && save(file, c->in.start, c->in_bytes) &&
               save(file, c->out.start + c->out_from, c->out_bytes - c->out_from);
    }
    return done && lseek(file, 0, SEEK_SET) == 0;
}

static void pass_on(bool on) {
    int flags = on ? 0 : FD_CLOEXEC;
    fcntl(doors.public_fd, F_SETFD, flags);
    if (doors.private_fd >= 0)
        fcntl(doors.private_fd, F_SETFD, flags);
    for (const connection *c = connections; c < connections + SLOTS; c++)
        if (c->used)
            fcntl(c->fd, F_SETFD, flags);
}

static char **variables_with(int file) {
    static char text[32];
    static char *variables[MOST_VARIABLES + 2];
    uint32_t count = 0;
    for (char **v = environ; *v && count < MOST_VARIABLES; v++)
        if (strncmp(*v, VARIABLE, sizeof VARIABLE - 1) != 0)
            variables[count++] = *v;
    writer w = writer_on(text, sizeof text - 1);
    put_text(&w, VARIABLE);
    put_i64(&w, file);
    *w.at = 0;
    variables[count++] = text;
    variables[count] = NULL;
    return variables;
}

static void go(void) {
    loop_accept(); /* who waits at the doors now waits no longer than the exec takes */
    if (!entry_leave_counts()) {
        refused("the counts that nobody has read cannot be left behind");
        return;
    }
    int file = (int)syscall(SYS_memfd_create, "edgeloop", 0);
    if (file < 0 || !save_all(file)) {
        refused(strerror(errno));
        close(file);
        return;
    }
    log_begin("info", "another binary takes over");
    log_number("connections", public_count);
    log_end();
    pass_on(true);
    become(binary, arguments, variables_with(file));
    int error = errno;
    pass_on(false);
    close(file);
    refused(strerror(error));
}

void swap_child(void) {
    int status;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (ended != tester)
            continue;
        tester = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            go();
        else
            refused(WIFEXITED(status) ? "it failed its self-test" : "its self-test did not end in time or crashed");
    }
}

static bool load(int file, void *bytes, size_t count) {
    char *at = bytes;
    while (count) {
        ssize_t got = read(file, at, count);
        if (got <= 0)
            return false;
        at += got;
        count -= (size_t)got;
    }
    return true;
}

static bool load_buffer(int file, buffer *b, uint32_t bytes, uint64_t wanted) {
    *b = (buffer){NULL, 0};
    if (bytes == 0)
        return true;
    return (buffer_take(b, wanted > bytes ? wanted : bytes) || buffer_take(b, bytes)) && load(file, b->start, bytes);
}

static bool load_connection(int file, connection *c) {
    int32_t head[3];
    if (!load(file, head, sizeof head) || !load(file, c, sizeof *c)) {
        *c = (connection){0};
        return false;
    }
    c->out_bytes -= c->out_from;
    c->out_from = 0;
    c->in = c->out = (buffer){NULL, 0};
    if (load_buffer(file, &c->in, c->in_bytes, http_wants(&c->http, c->in_bytes)) && load_buffer(file, &c->out, c->out_bytes, 0)) {
        ++*(c->is_private ? &private_count : &public_count);
        return true;
    }
    buffer_give(&c->in);
    buffer_give(&c->out);
    *c = (connection){0};
    return false;
}

/* Closes what was handed over and not taken: such files alone outlived the exec without being closed on the next. */
static void end_strangers(void) {
    for (int fd = 3; fd < MOST_FILES; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC) && fd != old_private)
            close(fd);
    }
}

static int variable_number(void) {
    for (char **v = environ; *v; v++) {
        if (strncmp(*v, VARIABLE, sizeof VARIABLE - 1) != 0)
            continue;
        int value = 0;
        for (const char *at = *v + sizeof VARIABLE - 1; *at >= '0' && *at <= '9' && value < 100000; at++)
            value = value * 10 + (*at - '0');
        return value;
    }
    return -1;
}

bool swap_adopt(void) {
    static handover h;
    int file = variable_number();
    if (file < 0 || !load(file, &h, sizeof h) || h.layout != LAYOUT)
        return false;
    bool whole = h.connection_bytes == sizeof(connection) && h.count <= SLOTS;
    uint32_t taken = 0;
    doors.public_fd = h.public_fd;
    old_private = h.private_fd;
    memcpy(old_boot, h.boot, sizeof old_boot);
    memcpy(path, h.path, sizeof path);
    fcntl(doors.public_fd, F_SETFD, FD_CLOEXEC);
    while (whole && taken < h.count && (whole = load_connection(file, &connections[taken])))
        fcntl(connections[taken++].fd, F_SETFD, FD_CLOEXEC);
    close(file);
    if (!whole) {
        log_begin("error", "connections could not be taken over: they end");
        log_number("connections", (int64_t)h.count - taken);
        log_end();
        end_strangers();
    }
    return true;
}

void swap_adopted(void) {
    if (!old_boot[0])
        return;
    entry_remove(old_boot);
    int door = doors.private_fd;
    doors.private_fd = old_private; /* who came by the old name meanwhile */
    if (old_private >= 0) {
        loop_accept();
        close(old_private);
    }
    doors.private_fd = door;
    old_boot[0] = 0;
}

void swap_watch(int epoll, connection *c) {
    struct epoll_event event = {.events = 0, .data = {.ptr = c}};
    c->events = 0;
    c->starved = c->in.start && c->in_bytes == c->in.room;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        connection_close(c);
    else
        connection_resume(c);
}

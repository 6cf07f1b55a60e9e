/* Is this very server ready? For exec probes. During an update two servers share the run folder and in their containers both
   may be process 1, so --pid is compared with what the kernel says about the other end of the private socket. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "entry.h"
#include "files.h"
#include "json.h"
#include "number.h"
#include "options.h"
#include "output.h"

enum { TIMEOUT_S = 2, NOT_READY = 1, MOST_NAMED = 8, ATTEMPTS = 3, PAUSE_US = 30000 };

typedef struct {
    uint32_t count;
    char socket[LONGEST_PATH], boot[64];
    char names[MOST_NAMED * 66];
    writer list;
} candidates;

static candidates found;
static char line[2 * LONGEST_PATH];
static writer say;

static int not_ready(void) {
    put_char(&say, '\n');
    ssize_t ignored = write(2, line, written(&say).bytes);
    (void)ignored;
    return NOT_READY;
}

static int dial(const char *path) {
    struct sockaddr_un address;
    socklen_t bytes;
    int folder = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {TIMEOUT_S, 0};
    if (path ? !socket_address(path, &address, &bytes, &folder) : (abstract_address(given.pid ? given.pid : 1, &address, &bytes), 0))
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    bool connected = connect(fd, (struct sockaddr *)&address, bytes) == 0;
    int error = errno;
    if (folder >= 0)
        close(folder);
    if (connected)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

static int peer(int fd) {
    struct ucred other = {0};
    socklen_t bytes = sizeof other;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &bytes);
    return other.pid;
}

static bool listens_as(const char *path, int pid) {
    int fd = dial(path);
    bool right = fd >= 0 && peer(fd) == pid;
    if (fd >= 0)
        close(fd);
    return right;
}

/* Reads an entry: its boot id, and its socket beside it. False when it is none. */
static bool entry_read(const char *name, char boot[64], char path[LONGEST_PATH]) {
    if (!path_join(path, given.run_dir, "", name, ""))
        return false;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = file < 0 ? -1 : read(file, output, sizeof output);
    if (file >= 0)
        close(file);
    slice document = {output, bytes > 0 ? (size_t)bytes : 0}, id = {NULL, 0}, socket_name = {NULL, 0};
    if (json_check(document) || !json_is_object(document = json_trim(document)))
        return false;
    for (json_walk walk = json_enter(document); json_next(&walk);) {
        if (json_equals(walk.key, SLICE("boot")))
            id = walk.value;
        if (json_equals(walk.key, SLICE("socket")))
            socket_name = walk.value;
    }
    char file_name[256];
    size_t id_bytes = json_is_text(id) ? json_decode(id, boot, 63) : 64;
    size_t name_bytes = json_is_text(socket_name) ? json_decode(socket_name, file_name, 255) : 256;
    if (id_bytes > 63 || name_bytes > 255)
        return false;
    boot[id_bytes] = file_name[name_bytes] = 0;
    return !strchr(file_name, '/') && path_join(path, given.run_dir, "", file_name, "");
}

static void consider(const char *name) {
    static char boot[64], path[LONGEST_PATH];
    size_t length = strlen(name);
    bool json = length > 5 && memcmp(name + length - 5, ".json", 5) == 0;
    bool final = length > 11 && memcmp(name + length - 11, ".final.json", 11) == 0;
    if (name[0] == '.' || !json || final || !entry_read(name, boot, path))
        return;
    if (given.boot ? strcmp(boot, given.boot) != 0 : given.pid && !listens_as(path, given.pid))
        return;
    if (found.count++)
        put_text(&found.list, ", ");
    put_text(&found.list, boot);
    memcpy(found.socket, path, sizeof path);
    memcpy(found.boot, boot, sizeof boot);
}

struct folder_item { /* as the kernel lays it out */
    uint64_t inode;
    int64_t offset;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

static void look_around(void) {
    static char items[8192] __attribute__((aligned(8)));
    int folder = open(given.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    found.count = 0;
    found.list = writer_on(found.names, sizeof found.names);
    for (long bytes; folder >= 0 && (bytes = syscall(SYS_getdents64, folder, items, sizeof items)) > 0;)
        for (long at = 0; at < bytes; at += ((struct folder_item *)(items + at))->bytes)
            consider(((struct folder_item *)(items + at))->name);
    if (folder >= 0)
        close(folder);
}

static void put_wanted(void) {
    put_text(&say, given.boot ? "boot " : given.pid ? "process " : "a server");
    if (given.boot)
        put_text(&say, given.boot);
    else if (given.pid)
        put_i64(&say, given.pid);
}

static bool chosen(void) {
    look_around();
    if (found.count == 1)
        return true;
    put_text(&say, given.run_dir);
    put_text(&say, found.count ? ": expected one server, found " : ": expected ");
    if (found.count) {
        put_slice(&say, written(&found.list));
        put_text(&say, ": name one by --boot or --pid");
    } else {
        put_wanted();
        put_text(&say, " there, found none");
    }
    return false;
}

static bool answered(int fd) {
    static const char request[] = "GET /v2/health/ready HTTP/1.0\r\nHost: node\r\n\r\n";
    size_t used = 0;
    ssize_t got = send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    while (got > 0 && used < 1024) {
        got = recv(fd, output + used, 1024 - used, 0);
        used += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        put_text(&say, errno == EAGAIN ? "timed out" : strerror(errno));
        return false;
    }
    if (used > 12 && memcmp(output, "HTTP/1.1 200", 12) == 0)
        return true;
    const char *body = memmem(output, used, "\r\n\r\n", 4);
    put_text(&say, "expected status 200, got ");
    put(&say, output + 9, used > 12 ? 3 : 0);
    put_text(&say, ": ");
    put(&say, body ? body + 4 : output, body ? used - (size_t)(body + 4 - output) : 0);
    return false;
}

static int look(bool *again) {
    say = writer_on(line, sizeof line - 1);
    put_text(&say, "not ready: ");
    *again = true;
    if (given.run_dir && !chosen())
        return NOT_READY;
    const char *path = given.run_dir ? found.socket : NULL;
    int fd = dial(path), wanted = given.pid ? given.pid : given.run_dir ? 0 : 1;
    put_text(&say, path ? path : "abstract socket");
    put_text(&say, ": ");
    if (fd < 0) {
        bool dead = errno == ECONNREFUSED || errno == ENOENT;
        put_text(&say, dead ? "nobody listens: " : "");
        put_text(&say, strerror(errno));
        return NOT_READY;
    }
    if (wanted && peer(fd) != wanted) {
        put_text(&say, "expected process ");
        put_i64(&say, wanted);
        put_text(&say, " behind the socket, found ");
        put_i64(&say, peer(fd));
        return NOT_READY;
    }
    *again = false;
    return answered(fd) ? 0 : NOT_READY;
}

/* A server that is just becoming another binary changes its entry, so nobody there is asked again. */
int check(void) {
    bool again;
    int result = look(&again);
    for (int i = 0; result && again && i < ATTEMPTS; i++) {
        usleep(PAUSE_US);
        result = look(&again);
    }
    return result ? not_ready() : 0;
}

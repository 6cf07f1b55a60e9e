/* The folder may be emptied under a running server (a volume torn down and made anew), so the entry is put back when it is
   missing. A socket gets its name only once it listens: a name that nobody answers means that the server is dead. */
#define _GNU_SOURCE
#include "entry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "document.h"
#include "files.h"
#include "log.h"
#include "monitor.h"
#include "number.h"
#include "output.h"
#include "report.h"
#include "service.h"

static const char *run_dir;
static int port;
static double started_s;

void entry_setup(const char *dir, int with_port) {
    run_dir = dir;
    port = with_port;
    started_s = unix_s();
}

static bool own_path(char path[LONGEST_PATH], const char *prefix, const char *suffix) {
    return path_join(path, run_dir, prefix, who.boot, suffix);
}

const char *entry_path(void) {
    static char path[LONGEST_PATH];
    return run_dir && own_path(path, "", ".json") ? path : "";
}

void abstract_address(int pid, struct sockaddr_un *address, socklen_t *bytes) {
    writer w = writer_on(address->sun_path, sizeof address->sun_path);
    char space[64];
    ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    put_char(&w, 0);
    put_text(&w, "edgeloop/");
    put(&w, space, length > 0 ? (size_t)length : 0);
    put_char(&w, '/');
    put_i64(&w, pid);
    *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + written(&w).bytes);
}

static int listener(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Two servers may share a namespace of sockets and of ids only by mistake; then the first keeps the address. */
static int listen_abstract(void) {
    struct sockaddr_un address;
    socklen_t bytes;
    int fd = listener();
    abstract_address(getpid(), &address, &bytes);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, bytes) || listen(fd, 128))) {
        log_error("warning", "check will not work: no abstract socket", "");
        close(fd);
        return -2;
    }
    return fd;
}

int entry_listen(void) {
    char path[LONGEST_PATH], unnamed[LONGEST_PATH];
    struct sockaddr_un address;
    socklen_t bytes;
    int folder;
    if (!run_dir)
        return listen_abstract();
    if (!own_path(path, "", ".sock") || !own_path(unnamed, ".", ".sock.new") || !make_folders(path))
        return -1;
    unlink(unnamed);
    if (!socket_address(unnamed, &address, &bytes, &folder))
        return -1;
    int fd = listener();
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, bytes) == 0;
    if (folder >= 0)
        close(folder);
    if (bound && chmod(unnamed, 0660) == 0 && listen(fd, 128) == 0 && rename(unnamed, path) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static void put_entry(writer *w) {
    put_text(w, "{\"pid\":");
    put_i64(w, getpid());
    put_text(w, ",\"port\":");
    put_i64(w, port);
    put_text(w, ",\"loop\":");
    put_slice(w, data_loop_json);
    put_text(w, ",\"version\":");
    put_slice(w, data_version);
    const struct {
        const char *name;
        slice value;
    } texts[] = {{",\"image\":", who.image}, {",\"node\":", who.node},      {",\"group\":", who.group},
                 {",\"runtime\":", SLICE("native")}, {",\"schema_hash\":", data_schema_hash}, {",\"boot\":", slice_of(who.boot)}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_text(w, texts[i].name);
        put_quoted(w, texts[i].value);
    }
    put_text(w, ",\"window_s\":");
    put_u64(w, WINDOW_S);
    put_text(w, ",\"started_s\":");
    put_double(w, started_s);
    put_text(w, ",\"socket\":\"");
    put_text(w, who.boot);
    put_text(w, ".sock\"");
}

void entry_log(void) {
    log_number("pid", getpid());
    log_number("port", port);
    log_text("loop", data_loop);
    log_number("version", VERSION);
    log_text("image", who.image);
    log_text("node", who.node);
    log_text("group", who.group);
    log_text("runtime", SLICE("native"));
    log_text("schema_hash", data_schema_hash);
    log_number("window_s", WINDOW_S);
    log_text("boot", slice_of(who.boot));
}

bool entry_write(void) {
    char path[LONGEST_PATH], temporary[LONGEST_PATH];
    if (!run_dir)
        return true;
    if (!own_path(path, "", ".json") || !own_path(temporary, ".", ".json.tmp"))
        return false;
    writer w = writer_on(output, sizeof output);
    put_entry(&w);
    put_slice(&w, data_announce_json);
    put_char(&w, '}');
    int file = file_begin(temporary);
    if (file < 0)
        return false;
    if (file_part(file, written(&w)))
        return file_end(file, temporary, path);
    close(file);
    unlink(temporary);
    return false;
}

bool entry_missing(void) {
    char path[LONGEST_PATH];
    if (!run_dir)
        return false;
    return (own_path(path, "", ".json") && access(path, F_OK)) || (own_path(path, "", ".sock") && access(path, F_OK));
}

static bool reports_write(int file) {
    bool done = file_part(file, SLICE("{\"reports\":["));
    uint64_t after = monitor_confirmed();
    for (const window *w; done && (w = monitor_next(after)) != NULL; after = w->sequence) {
        writer report = writer_on(output, sizeof output);
        if (after != monitor_confirmed())
            put_char(&report, ',');
        report_write(w, &report);
        done = file_part(file, written(&report));
    }
    return done && file_part(file, SLICE("]}"));
}

bool entry_leave_counts(void) {
    char path[LONGEST_PATH], temporary[LONGEST_PATH];
    monitor_stamp();
    if (!run_dir || !monitor_next(monitor_confirmed()))
        return true;
    if (!own_path(path, "", ".final.json") || !own_path(temporary, ".", ".final.json.tmp"))
        return false;
    int file = file_begin(temporary);
    if (file < 0)
        return false;
    if (reports_write(file))
        return file_end(file, temporary, path);
    int error = errno;
    close(file);
    unlink(temporary);
    errno = error;
    return false;
}

void entry_remove(const char *boot) {
    char path[LONGEST_PATH];
    if (run_dir && path_join(path, run_dir, "", boot, ".json"))
        unlink(path);
    if (run_dir && path_join(path, run_dir, "", boot, ".sock"))
        unlink(path);
}

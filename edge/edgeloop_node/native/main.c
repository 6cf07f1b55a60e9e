/* The commands of the server's binary. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "document.h"
#include "entry.h"
#include "fault.h"
#include "files.h"
#include "info.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "neighbour.h"
#include "options.h"
#include "predict.h"
#include "selftest.h"
#include "service.h"
#include "swap.h"

enum { CANNOT_SERVE = 1, BAD_MODEL = 3 };

static void log_difference(double worst) {
    char text[32];
    writer w = writer_on(text, sizeof text);
    put_i64(&w, (int64_t)(worst * 1e12));
    put_text(&w, "e-12");
    log_text("max_difference", written(&w));
}

static bool proved(void) {
    uint64_t began_ns = monotonic_ns();
    double worst;
    if (!selftest(&worst)) {
        log_begin("error", "the model is not served");
        log_text("model", data_loop);
        log_text("error", fault_text());
        log_end();
        return false;
    }
    log_begin("info", "self-test passed");
    log_text("model", data_loop);
    log_number("golden_rows", GOLDEN_ROWS);
    log_difference(worst);
    log_number("test_us", (int64_t)((monotonic_ns() - began_ns) / 1000));
    log_end();
    return true;
}

static int cannot_serve(const char *what) {
    log_error("error", "cannot serve", what);
    return CANNOT_SERVE;
}

static bool shared_with_stranger(void) {
    if (!given.port || !neighbour_is_stranger(given.host, given.port))
        return false;
    log_begin("error", "cannot serve");
    log_text("model", data_loop);
    log_text("error", fault_text());
    log_end();
    return true;
}

static bool announced(int port) {
    entry_setup(given.run_dir, port);
    doors.private_fd = entry_listen();
    return doors.private_fd != -1 && entry_write();
}

static int serve(char **words) {
    who.node = slice_of(given.node);
    who.group = slice_of(given.group);
    who.image = slice_of(given.image);
    service_new_boot();
    if (!proved())
        return BAD_MODEL;
    bool adopted = swap_adopt();
    swap_setup(words);
    int port = given.port;
    if (!adopted && shared_with_stranger())
        return CANNOT_SERVE;
    if (adopted)
        port = listen_port(doors.public_fd);
    else
        doors.public_fd = listen_tcp(given.host, &port);
    if (doors.public_fd < 0)
        return cannot_serve(given.host);
    if (!announced(port))
        return cannot_serve(given.run_dir ? given.run_dir : "");
    log_begin("info", "ready");
    entry_log();
    log_end();
    return loop_run();
}

static int selftest_only(void) {
    double worst;
    bool passed = selftest(&worst);
    slice text = passed ? SLICE("self-test passed") : fault_text();
    file_part(passed ? 1 : 2, text);
    file_part(passed ? 1 : 2, SLICE("\n"));
    return passed ? 0 : BAD_MODEL;
}

int main(int count, char **words) {
    int result = options_read(count, words);
    if (result >= 0)
        return result;
    switch (given.command[0] == 's' ? given.command[2] : given.command[0]) {
    case 'c':
        return check();
    case 'l':
        return selftest_only();
    case 'p':
        return predict();
    case 'i':
        return info();
    default:
        return serve(words);
    }
}

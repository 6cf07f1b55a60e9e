/* Open-loop HTTP/1.1 load: requests leave at times that are drawn first, whatever the server does.
 *
 *   load run  --port P --rates 500,1000 --seconds 5 --seed 1 --requests FILE [--host 127.0.0.1] [--connections 32]
 *             [--limit-us 100000] [--timeout-s 1] [--wait-s 0] [--out FILE]
 *   load plan --rates R --seconds S --seed N --out FILE          the arrival times alone, u64 nanoseconds
 *
 * Arrivals are a Poisson process. A latency runs from the scheduled arrival to the last byte of the answer, so the wait
 * for a free connection counts: a slow answer delays those behind it, and that is seen (no coordinated omission). A query
 * that ends without a whole answer of status 2xx failed. One line of JSON for each rate on standard output; --out gets the
 * latencies in order of arrival, u64 nanoseconds, all ones for a failed query. FILE with requests: u32 length, bytes, ...
 * Exit: 0 done, 1 nobody answers, 2 usage. One thread, epoll, no allocation while it runs but for the arrivals.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEADER_BYTES = 16384, MAX_CONNECTIONS = 1024, BUCKETS = 64 * 32, RETRY_NS = 10000000, SCAN_NS = 20000000 };
typedef enum { DOWN, CONNECTING, IDLE, SENDING, READING } state;
typedef enum { E_STATUS, E_CLOSED, E_TIMEOUT, E_QUEUED, E_MALFORMED, E_KINDS } failure;
static const char *const FAILURES[E_KINDS] = {"status", "closed", "timeout", "queued", "malformed"};
#define FAILED UINT64_MAX

typedef struct {
    int fd, in_body, close_after, bad_status;
    state at;
    size_t query, sent, have;
    uint64_t since, left; /* since: when it came into this state, ns; left: bytes of the body still to come */
    char head[HEADER_BYTES + 1];
} connection;

typedef struct { const char *bytes; size_t size; } text;
typedef struct {
    const char *host, *requests, *out, *rates;
    int port, connections;
    double seconds, timeout_s, wait_s;
    uint64_t seed, limit_us;
} options;

static connection pool[MAX_CONNECTIONS];
static int idle[MAX_CONNECTIONS], idle_count, epoll_fd, timer_fd;
static uint64_t *arrivals, *latency, *lateness, start_ns, timeout_ns;
static size_t count, next_query, finished;
static text *requests;
static size_t request_count;
static uint64_t failures[E_KINDS];
static struct sockaddr_in address;
static options given;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(int code, const char *what, const char *detail) {
    fprintf(stderr, "load: %s%s%s\n", what, *detail ? ": " : "", detail);
    exit(code);
}

static void *more(void *old, size_t bytes) {
    void *got = realloc(old, bytes ? bytes : 1);
    if (!got) die(1, "out of memory", "");
    return got;
}

/* --- the plan: arrival times, from a seed --------------------------------------------------------------------------- */

static uint64_t random_bits(uint64_t *s) { /* splitmix64 */
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void draw(double rate, double seconds, uint64_t seed) {
    size_t room = 0;
    double at = 0;
    for (count = 0;; count++) {
        at -= log(((double)(random_bits(&seed) >> 11) + 0.5) * 0x1p-53) / rate;
        if (at >= seconds) break;
        if (count == room) arrivals = more(arrivals, (room = room ? 2 * room : 1024) * sizeof *arrivals);
        arrivals[count] = (uint64_t)(at * 1e9);
    }
    latency = more(latency, count * sizeof *latency);
    lateness = more(lateness, count * sizeof *lateness);
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(2, path, strerror(errno));
    uint32_t size;
    while (fread(&size, sizeof size, 1, file) == 1) {
        char *bytes = more(NULL, size);
        if (fread(bytes, 1, size, file) != size) die(2, path, "a request is cut off");
        requests = more(requests, (request_count + 1) * sizeof *requests);
        requests[request_count++] = (text){bytes, size};
    }
    fclose(file);
    if (!request_count) die(2, path, "expected at least one request, found none");
}

/* --- connections ---------------------------------------------------------------------------------------------------- */

static void enter(connection *c, state at, uint64_t now) {
    c->at = at;
    c->since = now;
    if (at == IDLE) idle[idle_count++] = (int)(c - pool);
}

static void leave_idle(const connection *c) {
    for (int i = 0; i < idle_count; i++)
        if (idle[i] == (int)(c - pool)) { idle[i] = idle[--idle_count]; return; }
}

static void watch(connection *c, int operation, uint32_t events) {
    struct epoll_event e = {.events = events | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(epoll_fd, operation, c->fd, &e);
}

static void shut(connection *c, uint64_t now) {
    if (c->at == IDLE) leave_idle(c);
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    enter(c, DOWN, now);
}

static void open_connection(connection *c, uint64_t now) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die(1, "socket", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    enter(c, CONNECTING, now);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        shut(c, now);
        return;
    }
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void finish(connection *c, uint64_t result, uint64_t now) {
    latency[c->query] = result == FAILED ? FAILED : now - start_ns - arrivals[c->query];
    finished++;
}

static void fail(connection *c, failure why, uint64_t now) {
    if (c->at == SENDING || c->at == READING) {
        failures[why]++;
        finish(c, FAILED, now);
    }
    shut(c, now);
}

static void push(connection *c, uint64_t now) {
    const text *request = &requests[c->query % request_count];
    ssize_t n = send(c->fd, request->bytes + c->sent, request->size - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { fail(c, E_CLOSED, now); return; }
    if (n > 0) c->sent += (size_t)n;
    if (c->sent == request->size) {
        if (c->at == SENDING && n >= 0) { c->at = READING; }
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    } else {
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

static void begin(connection *c, uint64_t now) {
    uint64_t due = start_ns + arrivals[next_query], free_since = c->since > due ? c->since : due;
    lateness[next_query] = now - free_since;
    c->query = next_query++;
    c->sent = c->have = 0;
    c->in_body = c->close_after = c->bad_status = 0;
    enter(c, SENDING, now);
    const text *request = &requests[c->query % request_count];
    ssize_t n = send(c->fd, request->bytes, request->size, MSG_NOSIGNAL); /* almost always whole: no epoll_ctl then */
    if (n == (ssize_t)request->size) {
        c->sent = request->size;
        c->at = READING;
    } else if (n < 0 && errno != EAGAIN) {
        fail(c, E_CLOSED, now);
    } else {
        c->sent = n > 0 ? (size_t)n : 0;
        push(c, now);
    }
}

/* --- answers -------------------------------------------------------------------------------------------------------- */

static const char *header(const char *head, const char *name) {
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, size) && line[2 + size] == ':') return line + 3 + size + strspn(line + 3 + size, " \t");
    return NULL;
}

/* Reads a whole head. 0: fine, else a failure's number + 1. */
static int parse(connection *c) {
    int status = 0;
    if (sscanf(c->head, "HTTP/1.%*1d %3d", &status) != 1) return E_MALFORMED + 1;
    const char *length = header(c->head, "content-length"), *kept = header(c->head, "connection");
    char *end;
    if (!length) return E_MALFORMED + 1; /* chunked answers are not read */
    c->left = strtoull(length, &end, 10);
    if (end == length) return E_MALFORMED + 1;
    c->bad_status = status < 200 || status > 299;
    c->close_after = kept && !strncasecmp(kept, "close", 5);
    c->in_body = 1;
    return 0;
}

/* Takes bytes of an answer, split as they come. */
static void take(connection *c, const char *data, size_t size, uint64_t now) {
    while (size && !c->in_body) {
        size_t room = HEADER_BYTES - c->have, n = size < room ? size : room, before = c->have;
        if (!n) { fail(c, E_MALFORMED, now); return; }
        memcpy(c->head + before, data, n);
        c->head[c->have += n] = 0;
        char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
        if (!end) { data += n; size -= n; continue; }
        size_t used = (size_t)(end + 4 - c->head) - before;
        end[2] = 0;
        data += used;
        size -= used;
        c->have = 0;
        if (!strncmp(c->head, "HTTP/1.1 1", 10)) continue; /* 100 Continue and the like: the answer is still to come */
        int wrong = parse(c);
        if (wrong) { fail(c, (failure)(wrong - 1), now); return; }
    }
    if (!c->in_body) return;
    if (size > c->left) { fail(c, E_MALFORMED, now); return; } /* an answer that nobody asked for */
    c->left -= size;
    if (c->left) return;
    if (c->bad_status) failures[E_STATUS]++;
    finish(c, c->bad_status ? FAILED : 0, now);
    enter(c, IDLE, now);
    if (c->close_after) { shut(c, now); open_connection(c, now); }
}

static void receive(connection *c) {
    static char data[1 << 16];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    uint64_t now = now_ns();
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || c->at == IDLE) { fail(c, E_CLOSED, now); return; } /* an idle one is just closed */
    take(c, data, (size_t)n, now);
}

static void serve(const struct epoll_event *e) {
    connection *c = e->data.ptr;
    if (!c) {
        uint64_t ticks;
        if (read(timer_fd, &ticks, sizeof ticks) < 0) return;
        return;
    }
    if (c->fd < 0) return;
    if (c->at == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error || (e->events & (EPOLLERR | EPOLLHUP))) { shut(c, now_ns()); return; }
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        enter(c, IDLE, now_ns());
        return;
    }
    if ((e->events & EPOLLOUT) && c->at == SENDING) push(c, now_ns());
    if (c->fd >= 0 && (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) receive(c);
}

/* --- the run -------------------------------------------------------------------------------------------------------- */

static void scan(uint64_t now) {
    for (int i = 0; i < given.connections; i++) {
        connection *c = &pool[i];
        if ((c->at == SENDING || c->at == READING) && now - (start_ns + arrivals[c->query]) > timeout_ns) fail(c, E_TIMEOUT, now);
        if (c->at == CONNECTING && now - c->since > timeout_ns) shut(c, now);
        if (c->at == DOWN && now - c->since > RETRY_NS) open_connection(c, now);
    }
    while (next_query < count && start_ns + arrivals[next_query] + timeout_ns < now) { /* no connection came free in time */
        failures[E_QUEUED]++;
        lateness[next_query] = 0;
        latency[next_query++] = FAILED;
        finished++;
    }
}

static void set_timer(uint64_t at) {
    static uint64_t last;
    if (at == last) return;
    struct itimerspec when = {.it_value = {(time_t)(at / 1000000000u), (long)(at % 1000000000u)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    last = at;
}

static void turn(uint64_t *scanned, int sending) {
    struct epoll_event events[256];
    uint64_t now = now_ns();
    while (sending && idle_count && next_query < count && start_ns + arrivals[next_query] <= now)
        begin(&pool[idle[--idle_count]], now);
    if (sending && idle_count && next_query < count) set_timer(start_ns + arrivals[next_query]);
    int n = epoll_wait(epoll_fd, events, 256, 20);
    for (int i = 0; i < n; i++) serve(&events[i]);
    now = now_ns();
    if (now - *scanned > SCAN_NS) { scan(now); *scanned = now; }
}

/* Connects as many as it can before the clock starts; nobody there: exit 1. */
static void connect_all(void) {
    uint64_t began = now_ns(), scanned = 0, patience = (uint64_t)(given.wait_s * 1e9) + timeout_ns;
    start_ns = began;
    next_query = count;
    while (idle_count < given.connections && now_ns() - began < patience) {
        if (idle_count && now_ns() - began > patience / 2) break;
        turn(&scanned, 0);
    }
    if (!idle_count) die(1, "nobody answers on this port", given.host);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static unsigned bucket(uint64_t us) { /* 32 buckets an octave: at most 1/32 too high */
    if (us < 64) return (unsigned)us;
    unsigned shift = 58u - (unsigned)__builtin_clzll(us);
    return shift * 32 + (unsigned)(us >> shift);
}

static uint64_t bucket_top(unsigned b) {
    return b < 64 ? b : ((uint64_t)(b % 32 + 33) << (b / 32 - 1)) - 1;
}

static void print_histogram(void) {
    static uint64_t buckets[BUCKETS];
    const char *comma = "";
    memset(buckets, 0, sizeof buckets);
    for (size_t i = 0; i < count; i++)
        if (latency[i] != FAILED) buckets[bucket((latency[i] + 999) / 1000)]++;
    for (unsigned b = 0; b < BUCKETS; b++) {
        if (!buckets[b]) continue;
        printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, bucket_top(b), buckets[b]);
        comma = ",";
    }
}

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void report(double rate, double elapsed_s, double used_s) {
    uint64_t over = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        failed += latency[i] == FAILED;
        over += latency[i] != FAILED && latency[i] > given.limit_us * 1000;
    }
    if (count) qsort(lateness, count, sizeof *lateness, ascending);
    printf("{\"rate_per_s\":%.17g,\"seconds\":%.17g,\"seed\":%" PRIu64 ",\"queries\":%zu,\"failed\":%" PRIu64, rate, given.seconds, given.seed, count, failed);
    printf(",\"limit_us\":%" PRIu64 ",\"over\":%" PRIu64 ",\"errors\":{", given.limit_us, over);
    for (int i = 0; i < E_KINDS; i++) printf("%s\"%s\":%" PRIu64, i ? "," : "", FAILURES[i], failures[i]);
    printf("},\"elapsed_s\":%.6f,\"cpu_s\":%.6f,\"late_p99_us\":%.3f,\"histogram_us\":[", elapsed_s, used_s,
           count ? (double)lateness[count - 1 - count / 100] / 1000 : 0.0);
    print_histogram();
    printf("]}\n");
    fflush(stdout);
}

static void write_out(const char *path, const uint64_t *values) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(values, sizeof *values, count, file) != count || fclose(file)) die(1, path, strerror(errno));
}

static void run(double rate) {
    draw(rate, given.seconds, given.seed);
    next_query = finished = 0;
    memset(failures, 0, sizeof failures);
    double used_s = cpu_s();
    uint64_t scanned = start_ns = now_ns() + 1000000;
    for (int i = 0; i < given.connections; i++) pool[i].since = 0;
    while (finished < count) turn(&scanned, 1);
    report(rate, (double)(now_ns() - start_ns) * 1e-9, cpu_s() - used_s);
    if (given.out) write_out(given.out, latency);
    for (int i = 0; i < given.connections; i++) /* one that timed out is let go */
        if (pool[i].at == SENDING || pool[i].at == READING) shut(&pool[i], now_ns());
}

/* --- arguments ------------------------------------------------------------------------------------------------------ */

static double number(const char *name, const char *value, double least) {
    char *end;
    double got = strtod(value, &end);
    if (*end || !(got >= least) || got > 1e12) die(2, name, "expected a number in range");
    return got;
}

static void read_options(int argc, char **argv) {
    given = (options){.host = "127.0.0.1", .connections = 32, .seconds = 5, .timeout_s = 1, .limit_us = 100000};
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!value) die(2, name, "expected a value");
        if (!strcmp(name, "--host")) given.host = value;
        else if (!strcmp(name, "--requests")) given.requests = value;
        else if (!strcmp(name, "--out")) given.out = value;
        else if (!strcmp(name, "--rates")) given.rates = value;
        else if (!strcmp(name, "--port")) given.port = (int)number(name, value, 1);
        else if (!strcmp(name, "--connections")) given.connections = (int)number(name, value, 1);
        else if (!strcmp(name, "--seconds")) given.seconds = number(name, value, 1e-3);
        else if (!strcmp(name, "--timeout-s")) given.timeout_s = number(name, value, 1e-3);
        else if (!strcmp(name, "--wait-s")) given.wait_s = number(name, value, 0);
        else if (!strcmp(name, "--seed")) given.seed = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--limit-us")) given.limit_us = (uint64_t)number(name, value, 0);
        else die(2, name, "no such option");
    }
    if (!given.rates) die(2, "--rates", "expected one or more, parted by commas");
    if (given.connections > MAX_CONNECTIONS) die(2, "--connections", "at most 1024");
    timeout_ns = (uint64_t)(given.timeout_s * 1e9);
}

static void prepare(void) {
    if (!given.requests || !given.port) die(2, "run", "expected --port and --requests");
    read_requests(given.requests);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)given.port)};
    if (inet_pton(AF_INET, given.host, &address.sin_addr) != 1) die(2, given.host, "expected an IPv4 address");
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e)) die(1, "epoll", strerror(errno));
    for (int i = 0; i < given.connections; i++) { pool[i].fd = -1; open_connection(&pool[i], now_ns()); }
    connect_all();
}

int main(int argc, char **argv) {
    int planning = argc > 1 && !strcmp(argv[1], "plan");
    if (argc < 2 || (!planning && strcmp(argv[1], "run"))) die(2, "usage", "load run|plan --rates R --seconds S --seed N ...");
    read_options(argc, argv);
    if (!planning) prepare();
    for (const char *at = given.rates;; at++) {
        char *end;
        double rate = strtod(at, &end);
        if (end == at || !(rate > 0) || rate > 1e7 || (*end && *end != ',')) die(2, "--rates", given.rates);
        if (planning) {
            draw(rate, given.seconds, given.seed);
            if (!given.out) die(2, "plan", "expected --out");
            write_out(given.out, arrivals);
        } else {
            run(rate);
        }
        if (!*end) return 0;
        at = end;
        given.seed++;
    }
}

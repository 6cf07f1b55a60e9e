#define _GNU_SOURCE
#include "options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USAGE = 2, LONGEST_NAME = 253 };

options given;

static const char help[] =
    "usage: server [serve] [--host ADDRESS] [--port N] [--run-dir DIR] [--node NAME] [--group NAME] [--image DIGEST]\n"
    "       server check [--run-dir DIR] [--pid N | --boot ID]\n"
    "       server selftest | predict | info\n"
    "Serves the model that is compiled into it: POST /score, Open Inference Protocol V2 (/v2/...), GET /metrics, GET /window.\n"
    "  --host      numeric address to listen on [127.0.0.1]\n"
    "  --port      0: any free one [8080]\n"
    "  --run-dir   folder in which servers and agent meet [EDGELOOP_RUN_DIR; none: no file is needed]\n"
    "  --node, --group, --image   what reports say [EDGELOOP_NODE or host name, EDGELOOP_GROUP or default, EDGELOOP_IMAGE]\n"
    "  check       is the server ready? --pid: its process id as seen from here [without a run folder: 1]\n"
    "  selftest    scores the golden rows;  predict: raw float32 rows on stdin, raw outputs on stdout;  info: JSON\n"
    "SIGHUP: test the binary that is now at this path, and become it without losing a request. SIGTERM: drain, then end.\n"
    "exit codes: 0 ended well or ready, 1 cannot bind or announce, or not ready, 2 usage, 3 the model failed its self-test\n"
    "example: server --host 0.0.0.0 --port 8080 --run-dir /run/edgeloop\n";

static void say(int stream, const char *text) {
    ssize_t ignored = write(stream, text, strlen(text));
    (void)ignored;
}

static int usage(const char *word, const char *problem) {
    say(2, "server: ");
    say(2, word);
    say(2, problem);
    say(2, " (see --help)\n");
    return USAGE;
}

static const char *from(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static bool is_name(const char *text) {
    static const char more[] = "._:-";
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        char c = text[i], letter = (char)(c | 32);
        bool plain = (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || !strchr(more, c)))
            return false;
    }
    return length >= 1 && length <= LONGEST_NAME;
}

static int number(const char *word, const char *text, int least, int most, int *value) {
    int found = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && found <= most / 10; at++)
        found = found * 10 + (*at - '0');
    if (at == text || *at || found < least || found > most)
        return usage(word, ": expected a whole number in its range");
    *value = found;
    return -1;
}

static int names_right(void) {
    if (!is_name(given.node))
        return usage("--node", ": expected letters, digits and . _ : -, at most 253");
    if (!is_name(given.group))
        return usage("--group", ": expected letters, digits and . _ : -, at most 253");
    return -1;
}

static const struct {
    const char *name;
    const char **text;
    int *number, least, most;
} known[] = {
    {"--host", &given.host, NULL, 0, 0},        {"--port", NULL, &given.port, 0, 65535}, {"--run-dir", &given.run_dir, NULL, 0, 0},
    {"--node", &given.node, NULL, 0, 0},        {"--group", &given.group, NULL, 0, 0},   {"--image", &given.image, NULL, 0, 0},
    {"--pid", NULL, &given.pid, 1, 0x7fffffff}, {"--boot", &given.boot, NULL, 0, 0},
};

static int option(const char *word, const char *value) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(word, known[i].name) != 0)
            continue;
        if (!value)
            return usage(word, ": expected a value");
        if (known[i].number)
            return number(word, value, known[i].least, known[i].most, known[i].number);
        *known[i].text = value;
        return -1;
    }
    return usage(word, ": no such argument");
}

static int arguments(int count, char **words) {
    int result = -1;
    for (int i = 0; i < count && result < 0; i++) {
        char *equals = strchr(words[i], '=');
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            say(1, help);
            return 0;
        }
        if (words[i][0] == '-' && words[i][1] == '-' && equals) {
            *equals = 0;
            result = option(words[i], equals + 1);
            *equals = '='; /* the words are handed on when another binary takes over */
        } else {
            result = option(words[i], i + 1 < count ? words[i + 1] : NULL);
            i++;
        }
    }
    return result;
}

int options_read(int count, char **words) {
    static const char *const commands[] = {"serve", "check", "selftest", "predict", "info"};
    static char host_name[256];
    gethostname(host_name, sizeof host_name - 1);
    given = (options){"serve", "127.0.0.1", from("EDGELOOP_RUN_DIR", NULL), from("EDGELOOP_NODE", host_name),
                      from("EDGELOOP_GROUP", "default"), from("EDGELOOP_IMAGE", ""), NULL, 8080, 0};
    int first = 1;
    if (count > 1 && words[1][0] != '-') {
        given.command = NULL;
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (strcmp(words[1], commands[i]) == 0)
                given.command = commands[i];
        if (!given.command)
            return usage(words[1], ": expected serve, check, selftest, predict or info");
        first = 2;
    }
    int result = arguments(count - first, words + first);
    if (result < 0 && given.pid && given.boot)
        return usage("--pid", " and --boot: expected one of them");
    return result < 0 ? names_right() : result;
}

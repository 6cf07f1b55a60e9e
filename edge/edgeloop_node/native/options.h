/* What the command line and the environment say. */
#ifndef EDGELOOP_OPTIONS_H
#define EDGELOOP_OPTIONS_H

#include "text.h"

typedef struct {
    const char *command, *host, *run_dir, *node, *group, *image, *boot;
    int port, pid; /* pid 0: not given */
} options;

extern options given;

/* -1: go on; else the exit code. */
int options_read(int count, char **words);

#endif

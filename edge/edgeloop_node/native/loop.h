/* Serves until SIGTERM or SIGINT. */
#ifndef EDGELOOP_LOOP_H
#define EDGELOOP_LOOP_H

typedef struct {
    int public_fd, private_fd; /* -1: none */
} listeners;

extern listeners doors;

void loop_accept(void); /* every connection that waits, at both doors */
int loop_run(void);     /* the exit code */

#endif

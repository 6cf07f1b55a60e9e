/* Another binary takes over in place: same process, same listener, same connections, no request lost. */
#ifndef EDGELOOP_SWAP_H
#define EDGELOOP_SWAP_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"

void swap_setup(char **words);     /* of the command line; the environment is kept, too */
void swap_begin(void);             /* SIGHUP: tests the binary at our path */
void swap_child(void);             /* SIGCHLD: the test has ended, perhaps */
void swap_forget(void);            /* nothing takes over any more: this process is about to end */
void swap_sweep(int64_t now_ms);   /* a test that hangs is ended */

/* In the new process: the listeners and connections that were handed over; false: none. */
bool swap_adopt(void);
void swap_adopted(void); /* when the own entry is there and the loop can accept: the entry of the binary before goes */
void swap_watch(int epoll, connection *c);

#endif

/* The server's entry in the run folder: <boot>.json says what it is, <boot>.sock is its private socket. Without a run folder
   there is an abstract socket in its place, for `check` alone. */
#ifndef EDGELOOP_ENTRY_H
#define EDGELOOP_ENTRY_H

#include "text.h"

#include <sys/socket.h>
#include <sys/un.h>

void entry_setup(const char *run_dir, int port); /* run_dir NULL: none */
int entry_listen(void);                          /* the private listener; -1: errno */
bool entry_write(void);                          /* says that the server is ready; false: errno */
bool entry_missing(void);
bool entry_leave_counts(void); /* what nobody has read, as <boot>.final.json; false: errno */
void entry_remove(const char *boot);
void entry_log(void); /* its members, into the line that was begun */
const char *entry_path(void);

/* The abstract address of the server with this process id, in this process's namespace of ids. */
void abstract_address(int pid, struct sockaddr_un *address, socklen_t *bytes);

#endif

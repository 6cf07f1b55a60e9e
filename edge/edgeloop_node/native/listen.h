#ifndef EDGELOOP_LISTEN_H
#define EDGELOOP_LISTEN_H

/* A listening TCP socket that another process may share; -1: errno. *port becomes the one that was bound. */
int listen_tcp(const char *host, int *port);
int listen_port(int fd);
/* A connection to whoever listens there, with time limits; -1: nobody. A wildcard address means this machine. */
int dial_tcp(const char *host, int port, int patience_ms);

#endif

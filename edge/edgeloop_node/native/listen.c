/* Numeric addresses only: a resolver is larger than the server. */
#define _GNU_SOURCE
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

typedef union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} address;

static socklen_t address_of(const char *host, int port, address *a) {
    memset(a, 0, sizeof *a);
    host = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (inet_pton(AF_INET, host, &a->four.sin_addr) == 1) {
        a->four.sin_family = AF_INET;
        a->four.sin_port = htons((uint16_t)port);
        return sizeof a->four;
    }
    if (inet_pton(AF_INET6, host, &a->six.sin6_addr) != 1)
        return 0;
    a->six.sin6_family = AF_INET6;
    a->six.sin6_port = htons((uint16_t)port);
    return sizeof a->six;
}

int listen_port(int fd) {
    address a;
    socklen_t bytes = sizeof a;
    if (getsockname(fd, &a.any, &bytes))
        return -1;
    return ntohs(a.any.sa_family == AF_INET ? a.four.sin_port : a.six.sin6_port);
}

int listen_tcp(const char *host, int *port) {
    static const int on = 1;
    address a;
    socklen_t bytes = address_of(host, *port, &a);
    errno = EINVAL;
    int fd = bytes ? socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* connections inherit it */
    if (bind(fd, &a.any, bytes) == 0 && listen(fd, BACKLOG) == 0) {
        *port = listen_port(fd);
        return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int dial_tcp(const char *host, int port, int patience_ms) {
    struct timeval limit = {patience_ms / 1000, patience_ms % 1000 * 1000};
    address a;
    socklen_t bytes = address_of(host, port, &a);
    int fd = bytes ? socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, &a.any, bytes) == 0)
        return fd;
    close(fd);
    return -1;
}

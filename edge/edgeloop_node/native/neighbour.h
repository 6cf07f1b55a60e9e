/* Ports are shared, so that the next version of a model joins before the last one leaves. Another model must not join. */
#ifndef EDGELOOP_NEIGHBOUR_H
#define EDGELOOP_NEIGHBOUR_H

#include "text.h"

/* Whether a server of another model answers there already; then fault_text() says which. Waits less than a second; who does
   not answer in time, and what is no server of edgeloop, is nobody. */
bool neighbour_is_stranger(const char *host, int port);

#endif

#ifndef EDGELOOP_INFO_H
#define EDGELOOP_INFO_H

int info(void); /* what this binary is, as JSON on stdout; the exit code */

#endif

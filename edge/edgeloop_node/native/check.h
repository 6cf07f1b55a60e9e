#ifndef EDGELOOP_CHECK_H
#define EDGELOOP_CHECK_H

int check(void); /* by the options; 0 ready, 1 not, with a line on stderr */

#endif

#ifndef EDGELOOP_PREDICT_H
#define EDGELOOP_PREDICT_H

/* Raw float32 rows on stdin to raw outputs on stdout: all rows of the first output, then all of the next. The exit code. */
int predict(void);

#endif

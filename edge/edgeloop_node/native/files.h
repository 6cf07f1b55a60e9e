/* Files that are whole or not there, and Unix sockets of any path. */
#ifndef EDGELOOP_FILES_H
#define EDGELOOP_FILES_H

#include "text.h"

#include <sys/socket.h>
#include <sys/un.h>

enum { LONGEST_PATH = 4096 };

/* dir/name; false when that is too long */
bool path_join(char path[LONGEST_PATH], const char *dir, const char *prefix, const char *name, const char *suffix);
bool make_folders(char *path); /* all folders above the last part */

/* An atomic write in steps: begin, parts, end (temporary file, fsync, rename, fsync of the folder). False: errno. */
int file_begin(const char *temporary);
bool file_part(int file, slice part);
bool file_end(int file, const char *temporary, const char *path);

/* An address for a path; long ones go through the open folder *folder (close it afterwards; -1: none). */
bool socket_address(const char *path, struct sockaddr_un *address, socklen_t *bytes, int *folder);

#endif

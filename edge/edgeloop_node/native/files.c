#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool path_join(char path[LONGEST_PATH], const char *dir, const char *prefix, const char *name, const char *suffix) {
    writer w = writer_on(path, LONGEST_PATH);
    const char *const parts[] = {dir, "/", prefix, name, suffix};
    for (int i = 0; i < 5; i++)
        put_text(&w, parts[i]);
    put_char(&w, 0);
    errno = ENAMETOOLONG;
    return !w.full;
}

bool make_folders(char *path) {
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        *at = '/';
        if (!made && errno != EACCES && errno != EROFS) /* the next one says whether that mattered */
            return false;
    }
    return true;
}

int file_begin(const char *temporary) {
    return open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

bool file_part(int file, slice part) {
    while (part.bytes) {
        ssize_t done = write(file, part.text, part.bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        part = (slice){part.text + done, part.bytes - (size_t)done};
    }
    return true;
}

static bool sync_folder_of(const char *path) {
    char folder[LONGEST_PATH];
    const char *end = strrchr(path, '/');
    size_t length = end ? (size_t)(end - path) : 0;
    memcpy(folder, path, length);
    folder[length] = 0;
    int handle = open(length ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = handle >= 0 && fsync(handle) == 0;
    if (handle >= 0)
        close(handle);
    return done;
}

bool file_end(int file, const char *temporary, const char *path) {
    bool done = fchmod(file, 0644) == 0 && fsync(file) == 0; /* server and agent may run as different users */
    done = close(file) == 0 && done && rename(temporary, path) == 0;
    if (!done) {
        int error = errno;
        unlink(temporary);
        errno = error;
    }
    return done && sync_folder_of(path);
}

bool socket_address(const char *path, struct sockaddr_un *address, socklen_t *bytes, int *folder) {
    char dir[LONGEST_PATH];
    const char *name = strrchr(path, '/');
    *folder = -1;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *bytes = sizeof *address;
    writer w = writer_on(address->sun_path, sizeof address->sun_path - 1);
    put_text(&w, path);
    if (!w.full || !name)
        return !w.full;
    memcpy(dir, path, (size_t)(name - path));
    dir[name - path] = 0;
    *folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(address->sun_path, 0, sizeof address->sun_path);
    w = writer_on(address->sun_path, sizeof address->sun_path - 1);
    put_text(&w, "/proc/self/fd/");
    put_u64(&w, (uint64_t)*folder);
    put_text(&w, name);
    return *folder >= 0 && !w.full;
}

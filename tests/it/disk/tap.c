/* Preloaded into a process under test: writes down, in order, what it does to the files of one directory, and makes its disk
 * fail on demand. Environment: DISK_TAP_DIRECTORY (path prefix), DISK_TAP_LOG (append only), DISK_TAP_FAULT (a file: while
 * it exists, writes fail with the errno that it holds as a decimal number).
 *
 * A record: op (1 byte), length of the path (2), offset (8), length of the data (4), path, data; numbers little endian.
 * C create, W write, T truncate (to offset), S synchronise, D synchronise directory, U unlink, R rename (data: new path). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096
static char *paths[FILES];
static int log_fd = -1;
static const char *directory, *fault;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_unlink)(const char *), (*real_rename)(const char *, const char *);
static int (*real_close)(int), (*real_ftruncate)(int, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void begin(void) {
    directory = getenv("DISK_TAP_DIRECTORY");
    fault = getenv("DISK_TAP_FAULT");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_close = dlsym(RTLD_NEXT, "close");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_open = dlsym(RTLD_NEXT, "open64");
    const char *name = getenv("DISK_TAP_LOG");
    if (name) log_fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* The memory that SQLite's processes share is no part of the disk. */
static int ours(const char *path) {
    size_t length = strlen(path);
    return directory && !strncmp(path, directory, strlen(directory)) && (length < 4 || strcmp(path + length - 4, "-shm"));
}

static const char *path_of(int fd) { return fd >= 0 && fd < FILES ? paths[fd] : NULL; }

static void note(char op, const char *path, uint64_t offset, const void *data, uint32_t length) {
    if (log_fd < 0) return;
    unsigned char head[15];
    uint16_t path_length = strlen(path);
    head[0] = op;
    memcpy(head + 1, &path_length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &length, 4);
    struct iovec parts[3] = {{head, 15}, {(void *)path, path_length}, {(void *)data, length}};
    syscall(SYS_writev, log_fd, parts, 3);
}

static int refused(void) {
    if (!fault) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, fault, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[16] = {0};
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return atoi(text);
}

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FILES) return fd;
    pthread_mutex_lock(&order);
    free(paths[fd]);
    paths[fd] = ours(path) ? strdup(path) : NULL;
    if (paths[fd] && (flags & O_CREAT) && !existed) note('C', path, 0, "", 0);
    if (paths[fd] && (flags & O_TRUNC) && existed) note('T', path, 0, "", 0);
    pthread_mutex_unlock(&order);
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int existed = ours(path) && !access(path, F_OK), error;
    if (ours(path) && (flags & O_CREAT) && !existed && (error = refused())) return errno = error, -1;
    return opened(real_open(path, flags, mode), path, flags, existed);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int close(int fd) {
    pthread_mutex_lock(&order);
    if (path_of(fd)) free(paths[fd]), paths[fd] = NULL;
    pthread_mutex_unlock(&order);
    return real_close(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    if (!path_of(fd)) return real_pwrite(fd, data, length, offset);
    int error = refused();
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    ssize_t written = real_pwrite(fd, data, length, offset);
    if (written > 0) note('W', path_of(fd), offset, data, written);
    pthread_mutex_unlock(&order);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    if (!path_of(fd)) return real_write(fd, data, length);
    int error = refused();
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    ssize_t written = real_write(fd, data, length);
    off64_t end = lseek64(fd, 0, SEEK_CUR);
    if (written > 0) note('W', path_of(fd), end - written, data, written);
    pthread_mutex_unlock(&order);
    return written;
}

int ftruncate64(int fd, off64_t length) {
    if (!path_of(fd)) return real_ftruncate(fd, length);
    int error = refused();
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    int answer = real_ftruncate(fd, length);
    if (!answer) note('T', path_of(fd), length, "", 0);
    pthread_mutex_unlock(&order);
    return answer;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Noted once it is done: only then may anybody count on it. */
static int synchronised(int fd, int (*real)(int)) {
    struct stat facts;
    if (!path_of(fd)) return real(fd);
    int error = refused();
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    int answer = real(fd);
    if (!answer && !fstat(fd, &facts)) note(S_ISDIR(facts.st_mode) ? 'D' : 'S', path_of(fd), 0, "", 0);
    pthread_mutex_unlock(&order);
    return answer;
}

int fsync(int fd) { return synchronised(fd, real_fsync); }
int fdatasync(int fd) { return synchronised(fd, real_fdatasync); }

int unlink(const char *path) {
    if (!ours(path)) return real_unlink(path);
    pthread_mutex_lock(&order);
    int answer = real_unlink(path);
    if (!answer) note('U', path, 0, "", 0);
    pthread_mutex_unlock(&order);
    return answer;
}

int rename(const char *from, const char *to) {
    if (!ours(from)) return real_rename(from, to);
    pthread_mutex_lock(&order);
    int answer = real_rename(from, to);
    if (!answer) note('R', from, 0, to, strlen(to));
    pthread_mutex_unlock(&order);
    return answer;
}

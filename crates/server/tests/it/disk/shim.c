/* Stands between a server and the C library, and sees everything that changes one directory.
 *
 * Loaded with LD_PRELOAD. It notes each change and each sync in a log, in one order for all threads
 * and processes; it can hold the process between two changes; and it can play a disk that is full,
 * fails to sync, or is read-only, and a clock that is set. What it is to do, and how far it has come, is in a file of numbers
 * that both sides map or read; `mod.rs` names them.
 *
 * HEADRACE_DISK_ROOT is the directory, HEADRACE_DISK_CONTROL the file of numbers and
 * HEADRACE_DISK_LOG the log; there is none without it. Files named *-shm hold no durable state:
 * what is written there is not noted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, WRITE, TRUNCATE, LINK, RENAME, UNLINK, SYNC };

struct control {
    volatile uint64_t ops, log_end;
    volatile uint64_t pause_at, pause_kinds, paused;
    volatile uint64_t is_full, room, failing_syncs, failing_file, is_read_only;
    volatile int64_t clock_is_ahead;
};

struct op {
    uint32_t kind, name_bytes;
    uint64_t inode, offset, data_bytes;
};

#define FDS 65536
static uint64_t inodes[FDS];
static char is_shared[FDS];
static struct control *control;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void die(const char *why) {
    fprintf(stderr, "disk shim: %s\n", why);
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *of = getenv("HEADRACE_DISK_ROOT"), *path = getenv("HEADRACE_DISK_CONTROL");
    const char *log = getenv("HEADRACE_DISK_LOG");
    if (!of || !path) return;
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) die("no file of numbers");
    REAL(close)(fd);
    if (log && (log_fd = REAL(open)(log, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0) die("no log");
    strncpy(root, of, sizeof root - 1);
    root_length = strlen(root);
    control = map;
}

/* The absolute path, if it is inside the directory (or the directory itself). */
static int inside(int at, const char *path, char *full) {
    if (!control || !path) return 0;
    if (path[0] == '/') {
        if (snprintf(full, PATH_MAX, "%s", path) >= PATH_MAX) return 0;
    } else {
        char base[PATH_MAX / 2];
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length < 0) return 0;
            base[length] = 0;
        }
        if (snprintf(full, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    size_t length = strlen(full);
    while (length > 1 && full[length - 1] == '/') full[--length] = 0;
    return !strncmp(full, root, root_length) && (full[root_length] == '/' || !full[root_length]);
}

static int is_shm(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

/* Takes its place in the order. Held here when the test wants to look, with nothing under way. */
static void enter(uint32_t kind) {
    pthread_mutex_lock(&order);
    if (!control->pause_at || control->ops < control->pause_at) return;
    if (!(control->pause_kinds >> kind & 1)) return;
    control->pause_at = 0;
    control->paused = 1;
    while (control->paused) usleep(200);
}

static void leave(void) {
    int error = errno;
    pthread_mutex_unlock(&order);
    errno = error;
}

static void put(const void *bytes, uint64_t length, uint64_t *at) {
    const char *from = bytes;
    while (length) {
        ssize_t n = REAL(pwrite64)(log_fd, from, length, *at);
        if (n <= 0) die("could not write the log");
        from += n, length -= n, *at += n;
    }
}

static void note(uint32_t kind, uint64_t inode, uint64_t offset, const char *name, size_t name_bytes,
                 const void *data, uint64_t data_bytes) {
    int error = errno;
    if (log_fd >= 0) {
        struct op op = {kind, name_bytes, inode, offset, data_bytes};
        uint64_t at = control->log_end;
        put(&op, sizeof op, &at);
        put(name, name_bytes, &at);
        put(data, data_bytes, &at);
        control->log_end = at;
    }
    control->ops++;
    errno = error;
}

static void note_name(uint32_t kind, uint64_t inode, const char *name) {
    note(kind, inode, 0, name, strlen(name), NULL, 0);
}

static void note_two(uint32_t kind, uint64_t inode, const char *from, const char *to) {
    char both[2 * PATH_MAX];
    int length = snprintf(both, sizeof both, "%s\n%s", from, to);
    note(kind, inode, 0, both, length, NULL, 0);
}

static int is_ours(int fd) { return fd >= 0 && fd < FDS && inodes[fd]; }
static int is_noted(int fd) { return is_ours(fd) && !is_shared[fd]; }

static int refused(void) {
    if (!control->is_read_only) return 0;
    errno = EROFS;
    return 1;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int is_creating = flags & O_CREAT, is_writing = (flags & O_ACCMODE) != O_RDONLY;
    if (!inside(at, path, full)) return REAL(openat64)(at, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) die("a file without a name");
    struct stat before, now;
    int is_there = !stat(full, &before);
    int is_new = is_creating && !is_there;
    int is_change = is_new || (flags & O_TRUNC);
    if ((is_change || is_writing) && refused()) return -1;
    if (is_change) enter(is_new ? CREATE : TRUNCATE);
    int fd = REAL(openat64)(at, path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        fstat(fd, &now);
        is_shared[fd] = is_shm(full);
        inodes[fd] = now.st_ino;
        if (is_noted(fd) && is_new) note_name(CREATE, now.st_ino, full);
        else if (is_noted(fd) && (flags & O_TRUNC)) note(TRUNCATE, now.st_ino, 0, "", 0, NULL, 0);
    }
    if (is_change) leave();
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) inodes[fd] = 0;
    return REAL(close)(fd);
}

static int copied(int from, int to) {
    if (to >= 0 && to < FDS && from >= 0 && from < FDS) inodes[to] = inodes[from], is_shared[to] = is_shared[from];
    return to;
}
int dup(int fd) { return copied(fd, REAL(dup)(fd)); }
int dup2(int fd, int to) { return copied(fd, REAL(dup2)(fd, to)); }
int dup3(int fd, int to, int flags) { return copied(fd, REAL(dup3)(fd, to, flags)); }

static int controlled(int fd, int command, void *argument) {
    int result = REAL(fcntl64)(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result;
}
#define ARGUMENT va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more);
int fcntl(int fd, int command, ...) { ARGUMENT return controlled(fd, command, argument); }
int fcntl64(int fd, int command, ...) { ARGUMENT return controlled(fd, command, argument); }

/* How many of these bytes there is room for. Only growth takes room. */
static size_t room_for(int fd, size_t length, off64_t offset) {
    struct stat now;
    if (!control->is_full || fstat(fd, &now)) return length;
    uint64_t end = offset + length, size = now.st_size;
    uint64_t growth = end > size ? end - size : 0, room = control->room;
    if (growth > room) {
        length = length > growth - room ? length - (growth - room) : 0;
        growth = room;
    }
    control->room = room - growth;
    return length;
}

static ssize_t written(int fd, const void *data, size_t length, off64_t offset, int moves) {
    enter(WRITE);
    ssize_t result = -1;
    if (moves) offset = fcntl(fd, F_GETFL) & O_APPEND ? lseek64(fd, 0, SEEK_END) : lseek64(fd, 0, SEEK_CUR);
    size_t fits = room_for(fd, length, offset);
    if (!fits && length) errno = ENOSPC;
    else result = moves ? REAL(write)(fd, data, fits) : REAL(pwrite64)(fd, data, fits, offset);
    if (result > 0 && is_noted(fd)) note(WRITE, inodes[fd], offset, "", 0, data, result);
    leave();
    return result;
}
ssize_t write(int fd, const void *data, size_t length) {
    return is_ours(fd) ? written(fd, data, length, 0, 1) : REAL(write)(fd, data, length);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return is_ours(fd) ? written(fd, data, length, offset, 0) : REAL(pwrite64)(fd, data, length, offset);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }
/* Tells how much room there is. */
int fstatvfs64(int fd, struct statvfs64 *system) {
    int result = REAL(fstatvfs64)(fd, system);
    if (!result && is_ours(fd) && control->is_full) system->f_bavail = control->room / system->f_frsize;
    return result;
}
/* The two are one where addresses have 64 bits. */
int fstatvfs(int fd, struct statvfs *system) { return fstatvfs64(fd, (struct statvfs64 *)system); }
/* Several pieces at once may be written in part: the first one only is right, and simple. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (!is_ours(fd)) return REAL(writev)(fd, pieces, count);
    for (int n = 0; n < count; n++)
        if (pieces[n].iov_len) return written(fd, pieces[n].iov_base, pieces[n].iov_len, 0, 1);
    return 0;
}
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t offset) {
    if (!is_ours(fd)) return REAL(pwritev64)(fd, pieces, count, offset);
    for (int n = 0; n < count; n++)
        if (pieces[n].iov_len) return written(fd, pieces[n].iov_base, pieces[n].iov_len, offset, 0);
    return 0;
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) { return pwritev64(fd, pieces, count, offset); }

/* Copies inside the kernel are not seen: whoever tries is to write instead. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    if (!is_ours(out)) return REAL(copy_file_range)(in, from, out, to, length, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    if (!is_ours(out)) return ((ssize_t (*)(int, int, off64_t *, size_t))real("sendfile64"))(out, in, offset, count);
    errno = ENOSYS;
    return -1;
}

static int sized(int fd, off64_t length) {
    if (!is_noted(fd)) return REAL(ftruncate64)(fd, length);
    enter(TRUNCATE);
    int result = REAL(ftruncate64)(fd, length);
    if (!result) note(TRUNCATE, inodes[fd], length, "", 0, NULL, 0);
    leave();
    return result;
}
int ftruncate64(int fd, off64_t length) { return sized(fd, length); }
int ftruncate(int fd, off_t length) { return sized(fd, length); }

/* Not every file system can allocate: this one cannot, and the caller writes instead. */
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (!is_ours(fd)) return REAL(fallocate64)(fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return is_ours(fd) ? EOPNOTSUPP : REAL(posix_fallocate64)(fd, offset, length);
}
int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

static int synced(int fd, const char *name) {
    int (*sync)(int) = (int (*)(int))real(name);
    if (!is_noted(fd)) return sync(fd);
    enter(SYNC);
    int result = -1;
    if (control->failing_syncs && (!control->failing_file || control->failing_file == inodes[fd])) {
        control->failing_syncs--;
        errno = EIO;
    } else if (!(result = sync(fd))) {
        note(SYNC, inodes[fd], 0, "", 0, NULL, 0);
    }
    leave();
    return result;
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
/* It promises nothing about metadata or the drive's cache: it is no sync. */
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    return REAL(sync_file_range)(fd, offset, length, flags);
}

static void *mapped(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    if (is_noted(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) die("a file is written through memory");
    return ((void *(*)(void *, size_t, int, int, int, off64_t))real("mmap64"))(at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mapped(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mapped(at, length, protection, flags, fd, offset);
}

/* The machine's clock, set to another time. The monotonic one is not. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (!result && control && clock == CLOCK_REALTIME) now->tv_sec += control->clock_is_ahead;
    return result;
}

static uint64_t inode_of(const char *path) {
    struct stat now;
    return lstat(path, &now) ? 0 : now.st_ino;
}

int mkdirat(int at, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!inside(at, path, full)) return REAL(mkdirat)(at, path, mode);
    if (refused()) return -1;
    enter(MKDIR);
    int result = REAL(mkdirat)(at, path, mode);
    if (!result) note_name(MKDIR, inode_of(full), full);
    leave();
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int at, const char *path, int flags) {
    char full[PATH_MAX];
    if (!inside(at, path, full)) return REAL(unlinkat)(at, path, flags);
    if (refused()) return -1;
    enter(UNLINK);
    uint64_t inode = inode_of(full);
    int result = REAL(unlinkat)(at, path, flags);
    if (!result && !is_shm(full)) note_name(UNLINK, inode, full);
    leave();
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat(int from_at, const char *from, int to_at, const char *to) {
    char full_from[PATH_MAX], full_to[PATH_MAX];
    int is_from = inside(from_at, from, full_from), is_to = inside(to_at, to, full_to);
    if (!is_from && !is_to) return REAL(renameat)(from_at, from, to_at, to);
    if (!is_from || !is_to) die("a file moves in or out");
    if (refused()) return -1;
    enter(RENAME);
    uint64_t inode = inode_of(full_from);
    int result = REAL(renameat)(from_at, from, to_at, to);
    if (!result) note_two(RENAME, inode, full_from, full_to);
    leave();
    return result;
}
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char full[PATH_MAX];
    if (!inside(from_at, from, full) && !inside(to_at, to, full))
        return REAL(renameat2)(from_at, from, to_at, to, flags);
    /* Not every file system knows the flags: this one does not, and the caller makes a link instead. */
    if (flags) { errno = EINVAL; return -1; }
    return renameat(from_at, from, to_at, to);
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    char full_from[PATH_MAX], full_to[PATH_MAX];
    int is_to = inside(to_at, to, full_to);
    if (!is_to) return REAL(linkat)(from_at, from, to_at, to, flags);
    if (!inside(from_at, from, full_from)) die("a file moves in");
    if (refused()) return -1;
    enter(LINK);
    int result = REAL(linkat)(from_at, from, to_at, to, flags);
    if (!result) note_two(LINK, inode_of(full_to), full_from, full_to);
    leave();
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

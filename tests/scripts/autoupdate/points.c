/* Numbers what a program and its children change below a folder; an accident at one such point.
 *
 * Preloaded (ld.so(8), LD_PRELOAD) into the updater and all that it starts. A point lies just
 * before each call that changes a folder's entries or writes to a file, just before and after
 * each signal that the updater sends to a role, and where a program starts. points.py sets
 * what is read here:
 *
 *   POINTS_UPDATER  process ID of the updater
 *   POINTS_ROOT     the folder; what happens elsewhere is no point
 *   POINTS_TRACE    file that takes one line for each point: + or -, PROGRAM, CALL, SUBJECT;
 *                   the minus is for a call that failed, and changed nothing
 *   POINTS_AT       PROGRAM CALL NUMBER: the point of the accident; the first is number 1
 *   POINTS_VICTIMS  who is killed there: "updater", "group" (the point's process and all of its
 *                   session); or "disk": from there on there is no room, in any process
 *   POINTS_SHARED   file of two ints that all processes map: how often the point was passed, and
 *                   whether the disk is full
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct shared { int passed, full; };

/* Return what all processes of this run share; NULL if no accident is to happen. */
static struct shared *shared(void) {
    static struct shared *mapped;
    const char *path = getenv("POINTS_SHARED");
    if (mapped || !path) return mapped;
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) abort();
    return mapped;
}

/* Write the path below POINTS_ROOT into `subject`; tell whether `path` lies there. */
static int below_root(int dir, const char *path, char subject[PATH_MAX]) {
    char base[PATH_MAX] = "", link[64], whole[2 * PATH_MAX];
    if (*path != '/' && dir == AT_FDCWD && !getcwd(base, sizeof base)) return 0;
    if (*path != '/' && dir != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        if (readlink(link, base, sizeof base - 1) < 0) return 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, strncmp(path, "./", 2) ? path : path + 2);
    const char *root = getenv("POINTS_ROOT"), *begin = *path == '/' ? path : whole;
    size_t length = strlen(root);
    if (strncmp(begin, root, length) || begin[length] != '/') return 0;
    snprintf(subject, PATH_MAX, "%s", begin + length + 1);
    return 1;
}

static const char *program(void) {
    return getpid() == atoi(getenv("POINTS_UPDATER")) ? "updater" : program_invocation_short_name;
}

static void accident_at(const char *call) {
    const char *at = getenv("POINTS_AT");
    char here[256];
    int length = snprintf(here, sizeof here, "%s %s ", program(), call);
    if (!at || strncmp(at, here, length)) return;
    if (__sync_add_and_fetch(&shared()->passed, 1) != atoi(at + length)) return;
    const char *victims = getenv("POINTS_VICTIMS");
    if (strstr(victims, "disk")) shared()->full = 1;
    if (strstr(victims, "updater")) kill(atoi(getenv("POINTS_UPDATER")), SIGKILL);
    if (strstr(victims, "group")) kill(0, SIGKILL);
}

static void write_down(const char *call, const char *subject, int succeeded) {
    const char *trace = getenv("POINTS_TRACE");
    if (!trace) return;
    char line[PATH_MAX + 256];
    int length = snprintf(
        line, sizeof line, "%c %s %s %s\n", succeeded ? '+' : '-', program(), call, subject);
    int fd = REAL(open)(trace, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || REAL(write)(fd, line, length) != length) abort();
    close(fd);
}

/* Tell whether the call has to fail, for want of room. */
static int before(const char *call, int dir, const char *path) {
    char subject[PATH_MAX];
    int saved = errno;
    if (!getenv("POINTS_UPDATER") || !below_root(dir, path, subject)) {
        errno = saved;
        return 0;
    }
    accident_at(call);
    int needs_room = strcmp(call, "rename") && strcmp(call, "unlink");
    int fails = needs_room && shared() && shared()->full;
    errno = fails ? ENOSPC : saved;
    return fails;
}

static void after(const char *call, int dir, const char *path, int failed) {
    char subject[PATH_MAX];
    int saved = errno;
    if (getenv("POINTS_UPDATER") && below_root(dir, path, subject))
        write_down(call, subject, !failed);
    errno = saved;
}

static void pass(const char *call, const char *subject) {
    if (!getenv("POINTS_UPDATER")) return;
    accident_at(call);
    write_down(call, subject, 1);
}

/* glibc gives constructors what it gives main. */
__attribute__((constructor)) static void started(int argc, char **argv) {
    pass("start", argc > 1 ? argv[1] : "");
}

/* The same call has several names. Those that open change something only if they may create. */
#define CALL(call, type, failure, dir, path, ...)                  \
    type result = before(call, dir, path) ? failure : __VA_ARGS__; \
    after(call, dir, path, result == failure);                     \
    return result;
#define CHANGES(call, name, dir, path, parameters, ...) \
    int name parameters { CALL(call, int, -1, dir, path, REAL(name)(__VA_ARGS__)) }
#define OPENS(name, dir, parameters, ...)                                        \
    int name parameters {                                                        \
        mode_t mode = 0;                                                         \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {               \
            va_list more;                                                        \
            va_start(more, flags);                                               \
            mode = va_arg(more, mode_t);                                         \
            va_end(more);                                                        \
        }                                                                        \
        int creates = flags & (O_CREAT | O_TRUNC);                               \
        if (!creates) return REAL(name)(__VA_ARGS__, flags, mode);               \
        CALL("create", int, -1, dir, path, REAL(name)(__VA_ARGS__, flags, mode)) \
    }
#define OPENS_STREAM(name)                                                  \
    FILE *name(const char *restrict path, const char *restrict how) {       \
        if (!strpbrk(how, "wa")) return REAL(name)(path, how);              \
        CALL("create", FILE *, NULL, AT_FDCWD, path, REAL(name)(path, how)) \
    }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path)
OPENS(openat, dir, (int dir, const char *path, int flags, ...), dir, path)
OPENS(openat64, dir, (int dir, const char *path, int flags, ...), dir, path)
OPENS_STREAM(fopen)
OPENS_STREAM(fopen64)
CHANGES("create", creat, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
CHANGES("create", creat64, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
CHANGES("rename", rename, AT_FDCWD, to, (const char *from, const char *to), from, to)
CHANGES("rename", renameat, b, to,
        (int a, const char *from, int b, const char *to), a, from, b, to)
CHANGES("rename", renameat2, b, to,
        (int a, const char *from, int b, const char *to, unsigned flags), a, from, b, to, flags)
CHANGES("link", link, AT_FDCWD, to, (const char *from, const char *to), from, to)
CHANGES("link", linkat, b, to,
        (int a, const char *from, int b, const char *to, int flags), a, from, b, to, flags)
CHANGES("link", symlink, AT_FDCWD, path, (const char *to, const char *path), to, path)
CHANGES("link", symlinkat, dir, path, (const char *to, int dir, const char *path), to, dir, path)
CHANGES("unlink", unlink, AT_FDCWD, path, (const char *path), path)
CHANGES("unlink", unlinkat, dir, path, (int dir, const char *path, int flags), dir, path, flags)
CHANGES("unlink", rmdir, AT_FDCWD, path, (const char *path), path)
CHANGES("mkdir", mkdir, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
CHANGES("mkdir", mkdirat, dir, path, (int dir, const char *path, mode_t mode), dir, path, mode)

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[PATH_MAX] = "", link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (!getenv("POINTS_UPDATER") || readlink(link, path, sizeof path - 1) < 0)
        return REAL(write)(fd, bytes, size);
    CALL("write", ssize_t, -1, AT_FDCWD, path, REAL(write)(fd, bytes, size))
}

/* What a kill leaves behind is the same without them, and a disk may be slow. */
int fsync(int fd) { return fcntl(fd, F_GETFD) < 0 ? -1 : 0; }
int fdatasync(int fd) { return fsync(fd); }
int sync_file_range(int fd, off64_t from, off64_t size, unsigned flags) {
    (void)from, (void)size, (void)flags;
    return fsync(fd);
}

/* pidfd_send_signal(2) has no wrapper in older C libraries; Python calls it by its number. */
long syscall(long number, ...) {
    long a[6];
    va_list more;
    va_start(more, number);
    for (int each = 0; each < 6; each++) a[each] = va_arg(more, long);
    va_end(more);
    int signals = number == SYS_pidfd_send_signal;
    if (signals) pass("signal", "a role, just before");
    long result = REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (signals) pass("signal", "a role, just after");
    return result;
}

/*
 * Stands between the program and the C library, for LD_PRELOAD: counts the calls that somebody
 * outside of the process can notice, and at one of them kills the process or lets the call fail or
 * never return.
 * Between two such calls nobody can tell one moment from another.
 *
 * A call has a label: its name, a space, and what it is about. That is the last part of a file's
 * path (process ids in it are *), "door" for a connection that came in, "to 127.0.0.1:PORT" or
 * "to NAME" for one that went out, "control" for one that came in at a Unix socket, "log" for
 * standard output and error, "pipe" for other descriptors. What listens is "door" or "control", too.
 * "clock NAME" is a look at the clock that nobody sets, by the thread of that name (as Linux keeps it:
 * 15 bytes). Rust takes for impossible that it fails, and panics: so this is a panic at that place.
 *
 * What it does is told by the environment, and nothing of it happens without that:
 *
 *   FAILING_CALLS_TRACE  a file that gets a line "NUMBER LABEL" before each counted call
 *   FAILING_CALLS_ONLY   counts only calls whose label begins with one of these, divided by commas,
 *                        or is one that ends in $ here; without it all but reads of files, looks at
 *                        the clock and those about the log and pipes
 *   FAILING_CALLS_AT     the number of the call to which something happens, from 1
 *   FAILING_CALLS_DO     kill-before   the process is killed instead of the call
 *                        kill-after    the process is killed after the call
 *                        fail-before   the call is not made, and fails
 *                        fail-after    the call is made, and says that it failed
 *                        hang          the call is not made, and never returns
 *   FAILING_CALLS_ERRNO  the number of the error with which it fails
 *   FAILING_CALLS_TIMES  how many calls fail, from that one on: 1 without it, 0 for all
 *   FAILING_CALLS_WHILE  a file: while it exists, every counted call fails with the error whose
 *                        number stands in it, or with 0 waits, whatever AT says
 *
 * Calls that go round the C library are not seen: those of rustix (which the program uses for
 * nothing that is listed here), and those that the C library makes itself, such as to resolve names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

enum { LABEL_MAX = 192 };

enum act { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL_BEFORE, FAIL_AFTER, HANG };

static atomic_long counted;
static int trace_fd = -1;
static const char *only;
static int counts_clock;
static const char *while_path;
static long at;
static long times = 1;
static int error_number = EIO;
static enum act what = NOTHING;

__attribute__((constructor)) static void begin(void)
{
    const char *value;
    if ((value = getenv("FAILING_CALLS_TRACE")))
        trace_fd = (int)syscall(SYS_openat, AT_FDCWD, value,
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    only = getenv("FAILING_CALLS_ONLY");
    counts_clock = only && strstr(only, "clock ");
    while_path = getenv("FAILING_CALLS_WHILE");
    if ((value = getenv("FAILING_CALLS_AT")))
        at = atol(value);
    if ((value = getenv("FAILING_CALLS_TIMES")))
        times = atol(value);
    if ((value = getenv("FAILING_CALLS_ERRNO")))
        error_number = atoi(value);
    if ((value = getenv("FAILING_CALLS_DO"))) {
        if (!strcmp(value, "kill-before"))
            what = KILL_BEFORE;
        else if (!strcmp(value, "kill-after"))
            what = KILL_AFTER;
        else if (!strcmp(value, "fail-before"))
            what = FAIL_BEFORE;
        else if (!strcmp(value, "fail-after"))
            what = FAIL_AFTER;
        else if (!strcmp(value, "hang"))
            what = HANG;
        else
            abort();
    }
}

/* --- labels --- */

static void last_part(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    const char *from = slash && slash[1] ? slash + 1 : path;
    size_t length = 0;
    while (*from && length + 1 < size) {
        if (*from == '-' && from[1] >= '0' && from[1] <= '9') {
            out[length++] = '-';
            from++;
            while (*from >= '0' && *from <= '9')
                from++;
            if (length + 1 < size)
                out[length++] = '*';
            continue;
        }
        if (!strcmp(from, " (deleted)"))
            break;
        out[length++] = *from++;
    }
    out[length] = 0;
}

static void name_of_address(const struct sockaddr *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(out, size, "to %s:%d", host, ntohs(four->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const void *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(out, size, "to [%s]:%d", host, ntohs(six->sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        char name[LABEL_MAX / 2];
        last_part(((const struct sockaddr_un *)address)->sun_path, name, sizeof name);
        snprintf(out, size, "to %s", name);
    } else {
        snprintf(out, size, "to family %d", address->sa_family);
    }
}

/* Ports at which this process listens: what is connected to them came in. */
static atomic_int door_ports[16];

static int port_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

static int is_door(int port)
{
    for (int place = 0; place < 16; place++)
        if (port && atomic_load(&door_ports[place]) == port)
            return 1;
    return 0;
}

static void name_of_socket(int fd, char *out, size_t size)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length)) {
        snprintf(out, size, "socket");
        return;
    }
    if (is_door(port_of((struct sockaddr *)&address))) {
        snprintf(out, size, "door");
        return;
    }
    if (address.ss_family == AF_UNIX && length > sizeof(sa_family_t) + 1) {
        snprintf(out, size, "control");
        return;
    }
    length = sizeof address;
    int is_nobody = getpeername(fd, (struct sockaddr *)&address, &length);
    /* A pair of sockets inside of the process has no names. */
    int is_own = address.ss_family == AF_UNIX && length <= sizeof(sa_family_t) + 1;
    if (is_nobody || is_own)
        snprintf(out, size, is_own ? "pipe" : "to nobody");
    else
        name_of_address((struct sockaddr *)&address, out, size);
}

static void name_of_descriptor(int fd, char *out, size_t size)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0)
        length = 0;
    path[length] = 0;
    if (fd == 1 || fd == 2)
        snprintf(out, size, "log");
    else if (!strncmp(path, "socket:", 7))
        name_of_socket(fd, out, size);
    else if (path[0] == '/')
        last_part(path, out, size);
    else
        snprintf(out, size, "pipe");
}

/* --- the decision --- */

static int is_counted(const char *label)
{
    if (!only) {
        const char *about = strchr(label, ' ');
        return strcmp(about + 1, "log") && strcmp(about + 1, "pipe") && strncmp(label, "pread", 5);
    }
    for (const char *from = only; *from;) {
        size_t length = strcspn(from, ",");
        int is_whole = length && from[length - 1] == '$';
        size_t named = length - (size_t)is_whole;
        if (named && !strncmp(label, from, named) && (!is_whole || !label[named]))
            return 1;
        from += length + (from[length] == ',');
    }
    return 0;
}

/* The number in the file, or -1 when there is none. */
static int read_error(void)
{
    char digits[16];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, while_path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    long length = syscall(SYS_read, fd, digits, sizeof digits - 1);
    syscall(SYS_close, fd);
    digits[length > 0 ? length : 0] = 0;
    return atoi(digits);
}

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        syscall(SYS_sched_yield);
}

/* What to do about this call; `error` gets the number with which it fails. */
static enum act decide(const char *name, const char *about, int *error)
{
    char label[LABEL_MAX], line[LABEL_MAX + 32];
    snprintf(label, sizeof label, "%s %s", name, about);
    if (!is_counted(label))
        return NOTHING;
    long number = atomic_fetch_add(&counted, 1) + 1;
    if (trace_fd >= 0) {
        int length = snprintf(line, sizeof line, "%ld %s\n", number, label);
        syscall(SYS_write, trace_fd, line, (size_t)length);
    }
    *error = error_number;
    if (while_path) {
        int wanted;
        while ((wanted = read_error()) == 0) {
            const struct timespec look_again = {.tv_nsec = 1000000};
            nanosleep(&look_again, 0);
        }
        if (wanted > 0) {
            *error = wanted;
            return what == FAIL_AFTER ? FAIL_AFTER : FAIL_BEFORE;
        }
    }
    if (!at)
        return NOTHING;
    int is_it = number == at;
    if (what == FAIL_BEFORE || what == FAIL_AFTER)
        is_it = number >= at && (!times || number < at + times);
    if (!is_it)
        return NOTHING;
    if (what == KILL_BEFORE)
        die();
    while (what == HANG)
        pause();
    return what;
}

/*
 * A function of the C library, and its decision. `NAME` finds out what the call is about, in
 * `about`; errno is left as the call leaves it.
 */
#define REAL(result, function, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #function)

#define DECIDED(result, function, NAME, CALL) \
    char about[LABEL_MAX - 16]; \
    int error = 0, before = errno; \
    NAME; \
    enum act act = decide(function, about, &error); \
    errno = before; \
    if (act == FAIL_BEFORE) { \
        errno = error; \
        return -1; \
    } \
    result done = CALL; \
    if (act == KILL_AFTER) \
        die(); \
    if (act == FAIL_AFTER) { \
        errno = error; \
        return -1; \
    } \
    return done

#define OF_DESCRIPTOR name_of_descriptor(fd, about, sizeof about)
#define OF_PATH(path) last_part(path, about, sizeof about)

/* --- files --- */

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    DECIDED(ssize_t, "pwrite", OF_DESCRIPTOR, real(fd, bytes, count, offset));
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset)
{
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    DECIDED(ssize_t, "pread", OF_DESCRIPTOR, real(fd, bytes, count, offset));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    DECIDED(ssize_t, "pwrite", OF_DESCRIPTOR, real(fd, bytes, count, offset));
}

int ftruncate64(int fd, off64_t length)
{
    REAL(int, ftruncate64, int, off64_t);
    DECIDED(int, "ftruncate", OF_DESCRIPTOR, real(fd, length));
}

int fsync(int fd)
{
    REAL(int, fsync, int);
    DECIDED(int, "fsync", OF_DESCRIPTOR, real(fd));
}

int fdatasync(int fd)
{
    REAL(int, fdatasync, int);
    DECIDED(int, "fdatasync", OF_DESCRIPTOR, real(fd));
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    DECIDED(int, "rename", OF_PATH(to), real(from, to));
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    DECIDED(int, "link", OF_PATH(to), real(from_dir, from, to_dir, to, flags));
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    DECIDED(int, "unlink", OF_PATH(path), real(path));
}

int unlinkat(int dir, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int);
    DECIDED(int, "unlink", OF_PATH(path), real(dir, path, flags));
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t);
    DECIDED(int, "mkdir", OF_PATH(path), real(path, mode));
}

int chmod(const char *path, mode_t mode)
{
    REAL(int, chmod, const char *, mode_t);
    DECIDED(int, "chmod", OF_PATH(path), real(path, mode));
}

/* Only what may make a file or is written to: who reads changes nothing. */
int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    REAL(int, open64, const char *, int, ...);
    if ((flags & O_ACCMODE) == O_RDONLY)
        return real(path, flags, mode);
    DECIDED(int, "open", OF_PATH(path), real(path, flags, mode));
}

ssize_t copy_file_range(int from, off64_t *from_offset, int fd, off64_t *to_offset, size_t count,
                        unsigned int flags)
{
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned int);
    DECIDED(ssize_t, "copy", OF_DESCRIPTOR, real(from, from_offset, fd, to_offset, count, flags));
}

ssize_t sendfile64(int fd, int from, off64_t *offset, size_t count)
{
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    DECIDED(ssize_t, "copy", OF_DESCRIPTOR, real(fd, from, offset, count));
}

/* --- files and sockets --- */

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(ssize_t, write, int, const void *, size_t);
    DECIDED(ssize_t, "write", OF_DESCRIPTOR, real(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    DECIDED(ssize_t, "write", OF_DESCRIPTOR, real(fd, parts, count));
}

/* --- sockets --- */

int listen(int fd, int backlog)
{
    REAL(int, listen, int, int);
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (!getsockname(fd, (struct sockaddr *)&address, &length)) {
        int port = port_of((struct sockaddr *)&address);
        for (int place = 0; port && place < 16; place++) {
            int none = 0;
            if (atomic_compare_exchange_strong(&door_ports[place], &none, port))
                break;
        }
    }
    DECIDED(int, "listen", OF_DESCRIPTOR, real(fd, backlog));
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    DECIDED(int, "accept", OF_DESCRIPTOR, real(fd, address, length, flags));
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    REAL(int, connect, int, const struct sockaddr *, socklen_t);
    DECIDED(int, "connect", name_of_address(address, about, sizeof about),
            real(fd, address, length));
}

ssize_t send(int fd, const void *bytes, size_t count, int flags)
{
    REAL(ssize_t, send, int, const void *, size_t, int);
    DECIDED(ssize_t, "send", OF_DESCRIPTOR, real(fd, bytes, count, flags));
}

ssize_t sendto(int fd, const void *bytes, size_t count, int flags, const struct sockaddr *address,
               socklen_t length)
{
    REAL(ssize_t, sendto, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    DECIDED(ssize_t, "send", OF_DESCRIPTOR, real(fd, bytes, count, flags, address, length));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    DECIDED(ssize_t, "send", OF_DESCRIPTOR, real(fd, message, flags));
}

ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
    REAL(ssize_t, recv, int, void *, size_t, int);
    DECIDED(ssize_t, "recv", OF_DESCRIPTOR, real(fd, bytes, count, flags));
}

int shutdown(int fd, int how)
{
    REAL(int, shutdown, int, int);
    DECIDED(int, "shutdown", OF_DESCRIPTOR, real(fd, how));
}

/* --- the clock --- */

static void name_of_thread(char *out, size_t size)
{
    char name[17] = "";
    syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0);
    snprintf(out, size, "%s", name);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    if (!counts_clock || clock != CLOCK_MONOTONIC)
        return real(clock, time);
    DECIDED(int, "clock", name_of_thread(about, sizeof about), real(clock, time));
}

/*
 * Stands between the program and the C library, for LD_PRELOAD: its wall clock is so many seconds
 * ahead as the file says that WRONG_CLOCK names, and right as long as there is none. What counts from
 * the start of the machine is as it is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    const char *path = getenv("WRONG_CLOCK");
    char digits[24];
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return 0;
    long length = syscall(SYS_read, fd, digits, sizeof digits - 1);
    syscall(SYS_close, fd);
    digits[length > 0 ? length : 0] = 0;
    return atol(digits);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME)
        time->tv_sec += ahead();
    return failed;
}

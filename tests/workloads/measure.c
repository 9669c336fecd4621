#define _GNU_SOURCE
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
#error "system_call() is written for x86-64"
#endif

static long long stolen_at_start;

void require(int sound, const char *what)
{
    if (!sound) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

NOINLINE long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0) {
        errno = (int)-result;
        require(0, "system call");
    }
    return result;
}

NOINLINE void pause_us(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};

    system_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
}

static long long read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

NOINLINE void burn_ns(long long nanoseconds)
{
    long long until = read_clock(CLOCK_THREAD_CPUTIME_ID) + nanoseconds;

    while (read_clock(CLOCK_THREAD_CPUTIME_ID) < until)
        for (volatile int turn = 0; turn < 10000; turn++)
            ;
}

/* From the moment at which the thread was put into a run queue to the one at which it got the CPU (man 5 proc). */
static long long run_delay_ns(const struct report *report)
{
    char text[64] = "";
    long long delay_ns = 0;

    require(pread(report->schedstat, text, sizeof(text) - 1, 0) > 0, "schedstat");
    require(sscanf(text, "%*d %lld", &delay_ns) == 1, "schedstat");
    return delay_ns;
}

/* All clocks at one moment: read again if the thread left the CPU meanwhile. */
static struct moment read_clocks(const struct report *report)
{
    struct rusage before, after;
    struct moment now;

    getrusage(RUSAGE_THREAD, &after);
    do {
        before = after;
        now.delay_ns = run_delay_ns(report);
        now.cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
        now.wall_ns = read_clock(CLOCK_MONOTONIC);
        getrusage(RUSAGE_THREAD, &after);
    } while (after.ru_nvcsw != before.ru_nvcsw || after.ru_nivcsw != before.ru_nivcsw);
    now.waits = after.ru_nvcsw;
    return now;
}

/* Of all CPUs since boot: the eighth figure of the first line, in clock ticks (man 5 proc). */
static long long stolen_ns(void)
{
    FILE *stat = fopen("/proc/stat", "r");
    long long ticks = 0;

    require(stat && fscanf(stat, "cpu %*d %*d %*d %*d %*d %*d %*d %lld", &ticks) == 1, "/proc/stat");
    fclose(stat);
    return ticks * (1000000000LL / sysconf(_SC_CLK_TCK));
}

void *shared_memory(long bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    require(memory != MAP_FAILED, "mmap");
    if (!stolen_at_start)
        stolen_at_start = stolen_ns();
    return memory;
}

void begin(struct report *report, const char *name)
{
    prctl(PR_SET_NAME, name);
    strncpy(report->name, name, sizeof(report->name) - 1);
    report->pid = getpid();
    report->tid = gettid();
    report->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    require(report->schedstat >= 0, "/proc/thread-self/schedstat");
    report->begun = read_clocks(report);
}

void end(struct report *report)
{
    struct moment now = read_clocks(report);

    report->wall_ns = now.wall_ns - report->begun.wall_ns;
    report->cpu_ns = now.cpu_ns - report->begun.cpu_ns;
    report->delay_ns = now.delay_ns;
}

void operation_begins(struct report *report)
{
    report->operation_begun = read_clocks(report);
}

void operation_ends(struct report *report)
{
    struct moment now = read_clocks(report), *begun = &report->operation_begun;
    long long waited_ns = now.wall_ns - begun->wall_ns;

    report->waited_ns += waited_ns;
    report->asleep_ns += waited_ns - (now.cpu_ns - begun->cpu_ns) - (now.delay_ns - begun->delay_ns);
    report->waits += now.waits - begun->waits;
    report->operations++;
}

int start(void (*work)(void *), void *argument)
{
    pid_t pid = fork();

    require(pid >= 0, "fork");
    if (pid == 0) {
        work(argument);
        _exit(0);
    }
    return pid;
}

void finish(int pid)
{
    int status;

    require(waitpid(pid, &status, 0) == pid, "waitpid");
    require(status == 0, "a worker failed");
}

void print_document(const struct report *reports, int count, const char *more)
{
    printf("{\"stolen_ns\": %lld, \"threads\": [", stolen_ns() - stolen_at_start);
    for (const struct report *report = reports; report < reports + count; report++)
        printf("%s{\"name\": \"%s\", \"pid\": %d, \"tid\": %d, \"wall_ns\": %lld, \"cpu_ns\": %lld, "
               "\"operations\": %ld, \"waits\": %ld, \"waited_ns\": %lld, \"asleep_ns\": %lld, \"delay_ns\": %lld}",
               report == reports ? "" : ", ", report->name, report->pid, report->tid, report->wall_ns, report->cpu_ns,
               report->operations, report->waits, report->waited_ns, report->asleep_ns, report->delay_ns);
    printf("]%s}\n", more);
}

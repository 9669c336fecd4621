/*
 * Functions that count how often they are called, and how long they take as measured inside them; one calls itself, one goes on
 * as another. Waits for a line, makes the calls, and prints the counts and times by name as one JSON document.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static long quick_calls, slow_calls, deep_calls, next_calls, last_calls;
static long long slow_ns;

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

NOINLINE int counted_quick(int x)
{
    quick_calls++;
    return x + 1;
}

NOINLINE void counted_slow(void)
{
    long long began_ns = now_ns();
    slow_calls++;
    usleep(100);
    slow_ns += now_ns() - began_ns;
}

NOINLINE int counted_deep(int depth)
{
    volatile int below = 0; /* or the compiler makes a loop of it */

    deep_calls++;
    if (depth)
        below = counted_deep(depth - 1);
    else
        usleep(100);
    return below + 1;
}

NOINLINE int counted_last(int x)
{
    last_calls++;
    return x * 2;
}

NOINLINE int counted_next(int x)
{
    next_calls++;
    return counted_last(x + 1);
}

int main(void)
{
    char line[16];
    volatile int sum = 0;
    long long outside_ns = 0;

    if (printf("ready\n") < 0 || fflush(stdout) || !fgets(line, sizeof(line), stdin))
        return 1;
    for (int i = 0; i < 100003; i++)
        sum += counted_quick(i);
    for (int i = 0; i < 503; i++) {
        long long began_ns = now_ns();
        counted_slow();
        outside_ns += now_ns() - began_ns;
    }
    for (int i = 0; i < 101; i++)
        sum += counted_deep(6);
    for (int i = 0; i < 1009; i++)
        sum += counted_next(i);
    printf("{\"calls\": {\"counted_quick\": %ld, \"counted_slow\": %ld, \"counted_deep\": %ld, \"counted_next\": %ld, "
           "\"counted_last\": %ld}, \"inside_ns\": %lld, \"outside_ns\": %lld}\n",
           quick_calls, slow_calls, deep_calls, next_calls, last_calls, slow_ns, outside_ns);
    return 0;
}

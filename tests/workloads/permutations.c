/*
 * Two functions that call each other in every order, and sleep once at the end of each: 2^CALLS stacks of the same addresses,
 * which differ only in where on the stack they lie.
 */
#include <stdio.h>
#include <time.h>

enum { CALLS = 11 };

#define NOT_INLINED __attribute__((noinline, noclone))

static volatile int sink;

static void left(int order, int calls);
static void right(int order, int calls);

NOT_INLINED static void next(int order, int calls)
{
    if (!calls)
        nanosleep(&(struct timespec){0, 100000}, NULL);
    else if (order & 1)
        left(order >> 1, calls - 1);
    else
        right(order >> 1, calls - 1);
    sink++;
}

NOT_INLINED static void left(int order, int calls)
{
    next(order, calls);
    sink += 1;
}

NOT_INLINED static void right(int order, int calls)
{
    next(order, calls);
    sink += 2;
}

int main(void)
{
    for (int order = 0; order < 1 << CALLS; order++)
        next(order, CALLS);
    return 0;
}

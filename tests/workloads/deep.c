/*
 * Threads that sleep, again and again, at the end of call paths that are hard to follow: through the C library's qsort and
 * out of a signal handler, past frames of a size that is known only at run time, of more than a page, and realigned.
 * It is built in many ways, and stays where it is when its input ends: in pause().
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SLEEP_MS = 20, DEPTH = 12 };

#define NOT_INLINED __attribute__((noinline, noclone))

static volatile int sink;

NOT_INLINED static void doze(void)
{
    struct timespec time = {0, SLEEP_MS * 1000000};

    while (nanosleep(&time, &time) && errno == EINTR)
        ;
    sink++; /* no tail call */
}

NOT_INLINED static void recursive(int depth)
{
    if (depth)
        recursive(depth - 1);
    else
        doze();
    sink++;
}

NOT_INLINED static void of_any_size(int size)
{
    char *room = alloca(size);

    memset(room, 1, size);
    recursive(3);
    sink += room[size - 1];
}

NOT_INLINED static void of_many_pages(void)
{
    char room[20000];

    memset(room, 1, sizeof room);
    of_any_size(sink % 7 + 100);
    sink += room[17];
}

NOT_INLINED static void realigned(void)
{
    char room[256] __attribute__((aligned(64)));

    memset(room, 1, sizeof room);
    if ((uintptr_t)room % 64)
        abort();
    of_many_pages();
    sink += room[17];
}

NOT_INLINED static void on_signal(int number)
{
    recursive(number % 3);
    sink++;
}

NOT_INLINED static int compare(const void *left, const void *right)
{
    raise(SIGUSR1); /* the handler sleeps */
    sink++;
    return *(const int *)left - *(const int *)right;
}

NOT_INLINED static void sorts(void)
{
    int numbers[] = {2, 1};

    qsort(numbers, 2, sizeof numbers[0], compare);
    sink++;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;

NOT_INLINED static void waits_for_a_condition(void)
{
    struct timespec time;

    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += SLEEP_MS * 1000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&condition, &lock, &time);
    pthread_mutex_unlock(&lock);
    sink++;
}

NOT_INLINED static void waits_for_a_semaphore(void)
{
    struct timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += SLEEP_MS * 1000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    sem_timedwait(&semaphore, &time);
    sink++;
}

NOT_INLINED static void recurses(void)
{
    recursive(DEPTH);
    sink++;
}

static void *for_ever(void *what)
{
    for (;;)
        ((void (*)(void))what)();
    return NULL;
}

int main(void)
{
    static void (*const paths[])(void) = {realigned, sorts, waits_for_a_condition, waits_for_a_semaphore, recurses};
    static const char *const names[] = {"realigned", "sorts", "condition", "semaphore", "recurses"};
    struct sigaction action = {.sa_handler = on_signal};
    char byte;

    sigaction(SIGUSR1, &action, NULL);
    sem_init(&semaphore, 0, 0);
    for (unsigned i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, for_ever, (void *)paths[i]))
            return 1;
        pthread_setname_np(thread, names[i]);
    }
    puts("ready");
    fflush(stdout);
    pthread_setname_np(pthread_self(), "main");
    while (read(0, &byte, 1) == 1)
        recursive(2);
    return 0;
}

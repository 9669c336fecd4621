/*
 * One thread holds a mutex for 20 ms, 101 times, and another wants it meanwhile. Semaphores make sure that every hold
 * is contended: the waiter asks once the holder has it, and the holder comes back once the waiter had it.
 *
 * take() and release() stand between libc, which has no frame pointers, and the functions that a stack must show:
 * a walk loses the frame just above libc.
 */
#include "measure.h"

#include <pthread.h>
#include <semaphore.h>

enum { HOLDS = 101, HOLD_US = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t held, passed;

NOINLINE static void take(void)
{
    require(pthread_mutex_lock(&mutex) == 0, "lock");
}

NOINLINE static void release(void)
{
    require(pthread_mutex_unlock(&mutex) == 0, "unlock");
}

NOINLINE static void hold_lock(void)
{
    take();
    sem_post(&held);
    pause_us(HOLD_US);
    release();
}

NOINLINE static void want_lock(void)
{
    take();
    release();
}

static void *hold(void *report)
{
    begin(report, "lock-holder");
    for (int i = 0; i < HOLDS; i++) {
        operation_begins(report);
        hold_lock();
        operation_ends(report);
        sem_wait(&passed);
    }
    end(report);
    return NULL;
}

static void *want(void *report)
{
    begin(report, "lock-waiter");
    for (int i = 0; i < HOLDS; i++) {
        sem_wait(&held);
        operation_begins(report);
        want_lock();
        operation_ends(report);
        sem_post(&passed);
    }
    end(report);
    return NULL;
}

int main(void)
{
    struct report *reports = shared_memory(2 * sizeof(struct report));
    pthread_t holder, waiter;

    sem_init(&held, 0, 0);
    sem_init(&passed, 0, 0);
    require(pthread_create(&holder, NULL, hold, &reports[0]) == 0, "pthread_create");
    require(pthread_create(&waiter, NULL, want, &reports[1]) == 0, "pthread_create");
    pthread_join(holder, NULL);
    pthread_join(waiter, NULL);
    print_document(reports, 2, "");
    return 0;
}

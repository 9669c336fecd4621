/*
 * A lock convoy: four threads want one mutex, and whoever has it sleeps 20 ms before it lets go. Between two holds a
 * thread pauses for a moment, so that the next in line gets the lock and not the thread that just had it. At the end
 * each takes the lock once more, so that all have waited while any of the others held it.
 *
 * A thread has two reports: as convoy-N of its waits for the lock, as holder-N of its sleeps with the lock.
 * take() and release() stand between libc and what a stack must show; see lock.c.
 */
#include "measure.h"

#include <pthread.h>

enum { THREADS = 4, HOLDS = 37, HOLD_US = 20000, PAUSE_US = 100 };

static const struct {
    const char *waiting, *holding;
} names[THREADS] = {
    {"convoy-1", "holder-1"}, {"convoy-2", "holder-2"}, {"convoy-3", "holder-3"}, {"convoy-4", "holder-4"}};

static struct report *waiting, *holding; /* one of each a thread */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

NOINLINE static void take(void)
{
    require(pthread_mutex_lock(&mutex) == 0, "lock");
}

NOINLINE static void release(void)
{
    require(pthread_mutex_unlock(&mutex) == 0, "unlock");
}

NOINLINE static void want_lock(long me)
{
    operation_begins(&waiting[me]);
    take();
    operation_ends(&waiting[me]);
}

NOINLINE static void hold_lock(long me)
{
    operation_begins(&holding[me]);
    pause_us(HOLD_US);
    operation_ends(&holding[me]);
    release();
}

static void *take_part(void *number)
{
    long me = (long)number;

    begin(&holding[me], names[me].holding);
    begin(&waiting[me], names[me].waiting);
    for (int i = 0; i < HOLDS; i++) {
        want_lock(me);
        hold_lock(me);
        pause_us(PAUSE_US);
    }
    want_lock(me);
    release();
    end(&waiting[me]);
    end(&holding[me]);
    return NULL;
}

int main(void)
{
    struct report *reports = shared_memory(2 * THREADS * sizeof(struct report));
    pthread_t threads[THREADS];

    waiting = reports;
    holding = reports + THREADS;
    for (long i = 0; i < THREADS; i++)
        require(pthread_create(&threads[i], NULL, take_part, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    print_document(reports, 2 * THREADS, "");
    return 0;
}

/*
 * Two threads on each of the given CPUs that wake each other through pipes: so many round trips, so many a second.
 *
 * usage: load ROUND_TRIPS RATE CPU…
 *
 * A rate of 0 is as fast as it goes. Round trips come in bursts, a hundred times a second. A round trip is about three events:
 * a waking, a switch to the thread that was woken, and one back when it waits again.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BURSTS_A_SECOND = 100 };

struct pair {
    pthread_t asker, answerer;
    int there[2], back[2], cpu;
};

static long round_trips, rate;
static struct timespec began;

static void require(int sound, const char *what)
{
    if (!sound) {
        perror(what);
        exit(1);
    }
}

static void stay_on(int cpu)
{
    cpu_set_t only;

    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    require(sched_setaffinity(0, sizeof(only), &only) == 0, "sched_setaffinity");
}

/* Wait until so much of the time has passed as is due after so many round trips. */
static void keep_pace(long done)
{
    struct timespec due = began;

    due.tv_sec += done / rate;
    due.tv_nsec += done % rate * 1000000000 / rate;
    if (due.tv_nsec >= 1000000000) {
        due.tv_nsec -= 1000000000;
        due.tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void *ask(void *argument)
{
    struct pair *pair = argument;
    long burst = rate / BURSTS_A_SECOND ? rate / BURSTS_A_SECOND : 1;
    char byte = 0;

    stay_on(pair->cpu);
    for (long i = 0; i < round_trips; i++) {
        if (rate && i % burst == 0)
            keep_pace(i);
        require(write(pair->there[1], &byte, 1) == 1 && read(pair->back[0], &byte, 1) == 1, "ask");
    }
    close(pair->there[1]);
    return NULL;
}

static void *answer(void *argument)
{
    struct pair *pair = argument;
    char byte;

    stay_on(pair->cpu);
    while (read(pair->there[0], &byte, 1) == 1)
        require(write(pair->back[1], &byte, 1) == 1, "answer");
    return NULL;
}

int main(int count, char **arguments)
{
    int cpus = count - 3;
    struct pair *pairs = calloc(cpus > 0 ? cpus : 1, sizeof(struct pair));

    if (cpus < 1) {
        fprintf(stderr, "usage: load ROUND_TRIPS RATE CPU...\n");
        return 2;
    }
    round_trips = atol(arguments[1]);
    rate = atol(arguments[2]);
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < cpus; i++) {
        pairs[i].cpu = atoi(arguments[3 + i]);
        require(pipe(pairs[i].there) == 0 && pipe(pairs[i].back) == 0, "pipe");
        require(pthread_create(&pairs[i].answerer, NULL, answer, &pairs[i]) == 0, "pthread_create");
        require(pthread_create(&pairs[i].asker, NULL, ask, &pairs[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < cpus; i++) {
        pthread_join(pairs[i].asker, NULL);
        pthread_join(pairs[i].answerer, NULL);
    }
    return 0;
}

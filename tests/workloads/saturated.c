/*
 * More work than a CPU can do: three processes that burn CPU, and two pairs that pass bytes through a pipe and burn a
 * little for each, all on one CPU. Everyone who is not asleep waits for it most of the time.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BURNERS = 3, PAIRS = 2, REPORTS = BURNERS + 2 * PAIRS };
enum { BURN_MS = 701, MESSAGES = 151, WORK_NS = 500000, PAUSE_US = 3000 };

struct pair {
    struct report *reader, *writer;
    int pipe[2];
};

NOINLINE static void burn(void *report)
{
    begin(report, "burner");
    burn_ns(BURN_MS * 1000000LL);
    end(report);
}

NOINLINE static void read_messages(void *argument)
{
    struct pair *pair = argument;
    char byte;

    begin(pair->reader, "pair-reader");
    for (int i = 0; i < MESSAGES; i++) {
        system_call(SYS_read, pair->pipe[0], (long)&byte, 1, 0, 0, 0);
        burn_ns(WORK_NS);
    }
    end(pair->reader);
}

NOINLINE static void write_messages(void *argument)
{
    struct pair *pair = argument;

    begin(pair->writer, "pair-writer");
    for (int i = 0; i < MESSAGES; i++) {
        pause_us(PAUSE_US);
        burn_ns(WORK_NS);
        system_call(SYS_write, pair->pipe[1], (long)"x", 1, 0, 0, 0);
    }
    end(pair->writer);
}

static void stay_on_this_cpu(void)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(sched_getcpu(), &cpus);
    require(sched_setaffinity(0, sizeof(cpus), &cpus) == 0, "sched_setaffinity");
}

int main(void)
{
    struct report *reports = shared_memory(REPORTS * sizeof(struct report)), *next = reports;
    struct pair pairs[PAIRS];
    int pids[REPORTS], started = 0;

    stay_on_this_cpu();
    for (int i = 0; i < BURNERS; i++)
        pids[started++] = start(burn, next++);
    for (int i = 0; i < PAIRS; i++) {
        pairs[i].reader = next++;
        pairs[i].writer = next++;
        require(pipe(pairs[i].pipe) == 0, "pipe");
        pids[started++] = start(read_messages, &pairs[i]);
        pids[started++] = start(write_messages, &pairs[i]);
    }
    while (started > 0)
        finish(pids[--started]);
    print_document(reports, REPORTS, "");
    return 0;
}

/*
 * A mixture of waits and preemptions for two tools to agree on: five pairs of processes that pass bytes through a
 * pipe at different paces, and two that burn CPU in between sleeps, all on the CPU that the caller pinned them to.
 * mark-begin runs before everything and mark-end after: what lies between them is what both tools are asked about.
 */
#include "measure.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { PAIRS = 5, BURNERS = 2, MARKS = 2, REPORTS = 2 * PAIRS + BURNERS + MARKS };
enum { SLICES = 151, SLICE_NS = 4000000, REST_US = 7000 };

static const struct {
    long messages, pause_us;
} pace[PAIRS] = {{2003, 1000}, {1009, 2000}, {701, 3000}, {499, 4000}, {401, 5000}};

struct pair {
    struct report *reader, *writer;
    int pipe[2];
    long messages, pause_us;
};

struct mark {
    struct report *report;
    const char *name;
};

NOINLINE static void leave_mark(void *argument)
{
    struct mark *mark = argument;

    begin(mark->report, mark->name);
    pause_us(1000);
    end(mark->report);
}

NOINLINE static void read_messages(void *argument)
{
    struct pair *pair = argument;
    char byte;

    begin(pair->reader, "pair-reader");
    for (long message = 0; message < pair->messages; message++)
        system_call(SYS_read, pair->pipe[0], (long)&byte, 1, 0, 0, 0);
    end(pair->reader);
}

NOINLINE static void write_messages(void *argument)
{
    struct pair *pair = argument;

    begin(pair->writer, "pair-writer");
    for (long message = 0; message < pair->messages; message++) {
        pause_us(pair->pause_us);
        system_call(SYS_write, pair->pipe[1], (long)"x", 1, 0, 0, 0);
    }
    end(pair->writer);
}

NOINLINE static void burn(void *report)
{
    begin(report, "burner");
    for (int slice = 0; slice < SLICES; slice++) {
        burn_ns(SLICE_NS);
        pause_us(REST_US);
    }
    end(report);
}

int main(void)
{
    struct report *reports = shared_memory(REPORTS * sizeof(struct report)), *next = reports;
    struct pair pairs[PAIRS];
    int pids[2 * PAIRS + BURNERS], started = 0;

    finish(start(leave_mark, &(struct mark){next++, "mark-begin"}));
    for (int i = 0; i < PAIRS; i++) {
        struct pair *pair = &pairs[i];

        *pair = (struct pair){.messages = pace[i].messages, .pause_us = pace[i].pause_us};
        pair->reader = next++;
        pair->writer = next++;
        require(pipe(pair->pipe) == 0, "pipe");
        pids[started++] = start(read_messages, pair);
        pids[started++] = start(write_messages, pair);
    }
    for (int i = 0; i < BURNERS; i++)
        pids[started++] = start(burn, next++);
    while (started > 0)
        finish(pids[--started]);
    finish(start(leave_mark, &(struct mark){next++, "mark-end"}));
    print_document(reports, REPORTS, "");
    return 0;
}

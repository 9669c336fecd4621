/*
 * Four processes that pass blocks through pipes, A to B to C to D, as fast as C lets them: for each block C works 1.5 ms,
 * sleeps 7 ms and works 1.5 ms again. A and B wait for room in the next pipe, which holds one block, D waits for a block,
 * and all of them in the end for C's sleep. It lies in the middle of C's work so that everyone waits by then.
 *
 * C passes on the blocks that fill the pipes behind the last one at once, so that A and B wait as often as C sleeps.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCKS = 251, BEHIND = 8, BYTES = 4096, PIPES = 3, STAGES = 4 };
enum { WORK_NS = 1500000, SLEEP_US = 7000 };

struct stage {
    struct report *report;
    int input, output;
};

static char block[BYTES];

NOINLINE static void receive(const struct stage *stage)
{
    require(system_call(SYS_read, stage->input, (long)block, BYTES, 0, 0, 0) == BYTES, "receive");
}

NOINLINE static void transmit(const struct stage *stage)
{
    require(system_call(SYS_write, stage->output, (long)block, BYTES, 0, 0, 0) == BYTES, "transmit");
}

NOINLINE static void produce(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "pipeline-a");
    for (int i = 0; i < BLOCKS + BEHIND; i++) {
        operation_begins(stage->report);
        transmit(stage);
        operation_ends(stage->report);
    }
    end(stage->report);
}

NOINLINE static void relay(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "pipeline-b");
    for (int i = 0; i < BLOCKS + BEHIND; i++) {
        receive(stage);
        operation_begins(stage->report);
        transmit(stage);
        operation_ends(stage->report);
    }
    end(stage->report);
}

NOINLINE static void process(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "pipeline-c");
    for (int i = 0; i < BLOCKS + BEHIND; i++) {
        receive(stage);
        if (i < BLOCKS) {
            burn_ns(WORK_NS);
            operation_begins(stage->report);
            pause_us(SLEEP_US);
            operation_ends(stage->report);
            burn_ns(WORK_NS);
        }
        transmit(stage);
    }
    end(stage->report);
}

NOINLINE static void consume(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "pipeline-d");
    for (int i = 0; i < BLOCKS + BEHIND; i++) {
        operation_begins(stage->report);
        receive(stage);
        operation_ends(stage->report);
    }
    end(stage->report);
}

int main(void)
{
    void (*work[STAGES])(void *) = {produce, relay, process, consume};
    struct report *reports = shared_memory(STAGES * sizeof(struct report));
    struct stage stages[STAGES];
    int pipes[PIPES][2], pids[STAGES];

    for (int i = 0; i < PIPES; i++) {
        require(pipe(pipes[i]) == 0, "pipe");
        require(fcntl(pipes[i][1], F_SETPIPE_SZ, BYTES) == BYTES, "a pipe of one block");
    }
    for (int i = 0; i < STAGES; i++) {
        stages[i] = (struct stage){&reports[i], i > 0 ? pipes[i - 1][0] : -1, i < PIPES ? pipes[i][1] : -1};
        pids[i] = start(work[i], &stages[i]);
    }
    for (int i = 0; i < STAGES; i++)
        finish(pids[i]);
    print_document(reports, STAGES, "");
    return 0;
}

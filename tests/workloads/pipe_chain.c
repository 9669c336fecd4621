/*
 * A wakes B wakes C: three processes and two pipes. chain-a sends 211 bytes, 10 ms apart, and exits; the workload goes
 * on for another half second, so that chain-a is long gone when the recording ends.
 */
#include "measure.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { MESSAGES = 211, PAUSE_US = 10000, LINGER_US = 500000, STAGES = 3 };

struct stage {
    struct report *report;
    int input, output;
};

NOINLINE static void receive(int pipe)
{
    char byte;

    system_call(SYS_read, pipe, (long)&byte, 1, 0, 0, 0);
}

NOINLINE static void transmit(int pipe)
{
    system_call(SYS_write, pipe, (long)"x", 1, 0, 0, 0);
}

NOINLINE static void produce(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "chain-a");
    for (int message = 0; message < MESSAGES; message++) {
        operation_begins(stage->report);
        pause_us(PAUSE_US);
        operation_ends(stage->report);
        transmit(stage->output);
    }
    end(stage->report);
}

NOINLINE static void relay(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "chain-b");
    for (int message = 0; message < MESSAGES; message++) {
        operation_begins(stage->report);
        receive(stage->input);
        operation_ends(stage->report);
        transmit(stage->output);
    }
    end(stage->report);
}

NOINLINE static void consume(void *argument)
{
    struct stage *stage = argument;

    begin(stage->report, "chain-c");
    for (int message = 0; message < MESSAGES; message++) {
        operation_begins(stage->report);
        receive(stage->input);
        operation_ends(stage->report);
    }
    end(stage->report);
}

int main(void)
{
    void (*work[STAGES])(void *) = {produce, relay, consume};
    struct report *reports = shared_memory(STAGES * sizeof(struct report));
    int first[2], second[2], pids[STAGES];

    require(pipe(first) == 0 && pipe(second) == 0, "pipe");
    struct stage stages[STAGES] = {
        {&reports[0], -1, first[1]},
        {&reports[1], first[0], second[1]},
        {&reports[2], second[0], -1},
    };
    for (int i = 0; i < STAGES; i++)
        pids[i] = start(work[i], &stages[i]);
    for (int i = 0; i < STAGES; i++)
        finish(pids[i]);
    pause_us(LINGER_US);
    print_document(reports, STAGES, "");
    return 0;
}

/*
 * What a workload measures of itself, so that a recording can be held against it.
 *
 * Every worker fills one report in memory shared by all processes of the workload; main prints them as one JSON
 * document. Only system_call() enters the kernel where a test looks at stacks: libc has no frame pointers, so a walk
 * through it would lose the caller.
 */
#ifndef MEASURE_H
#define MEASURE_H

#define NOINLINE __attribute__((noinline))

/* What a thread's clocks say at one moment; delay_ns is the time that it has stood in run queues since its birth. */
struct moment {
    long long wall_ns, cpu_ns, delay_ns;
    long waits;
};

struct report {
    char name[16];
    int pid;
    int tid;
    long long wall_ns;   /* between begin() and end() */
    long long cpu_ns;    /* in the same time, by the thread's own CPU clock */
    long operations;     /* how often the worker did what it is there for */
    long waits;          /* voluntary switches inside the operations, as the kernel counts them: one a wait */
    long long waited_ns; /* wall time inside the operations */
    long long asleep_ns; /* of it, what was spent neither on a CPU nor in a run queue */
    long long delay_ns;  /* in run queues since the thread's birth, as its schedstat says */
    struct moment begun, operation_begun;
    int schedstat;
};

/* Zeroed memory, shared with every process forked later. */
void *shared_memory(long bytes);

/* Name the calling thread and start its clocks; stop them. */
void begin(struct report *report, const char *name);
void end(struct report *report);

/* Bracket one operation. */
void operation_begins(struct report *report);
void operation_ends(struct report *report);

/* Fork a worker that runs `work(argument)` and exits; its process id. */
int start(void (*work)(void *), void *argument);

/* Wait for the worker to exit; the workload fails if it failed. */
void finish(int pid);

/*
 * Print {"stolen_ns": ..., "threads": [...]`more`}; `more` is empty or starts with a comma. Stolen is the time, since
 * shared_memory() was first called, in which a hypervisor let this machine's CPUs wait: threads were on a CPU then, but
 * their CPU clocks stood still.
 */
void print_document(const struct report *reports, int count, const char *more);

/* One system call, from a function with a frame; the workload ends with a message if it fails. */
long system_call(long number, long a, long b, long c, long d, long e, long f);

void pause_us(long microseconds);

/* Use that much CPU time. */
void burn_ns(long long nanoseconds);

/* End the workload with a message unless `sound`. */
void require(int sound, const char *what);

#endif

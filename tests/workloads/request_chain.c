/*
 * A client asks a proxy, the proxy asks a server, and the server overwrites the file named by the argument and
 * fdatasyncs it before it answers: three processes and two TCP connections over loopback, 41 requests, 5 ms apart.
 *
 * The file has its place on the disk before. It is large and written past the page cache, so that a request is a few
 * long waits for the disk: many short ones would be as much waits for an idle CPU to wake up, after each of them.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { REQUESTS = 41, BYTES = 32 << 20, PAUSE_US = 5000, WORKERS = 3 };

struct worker {
    struct report *report;
    int from, to; /* connections to the one who asks, and to the one who is asked */
    int file;
};

static char block[BYTES] __attribute__((aligned(4096)));

NOINLINE static void receive(int socket)
{
    char byte;

    require(system_call(SYS_recvfrom, socket, (long)&byte, 1, 0, 0, 0) == 1, "receive");
}

NOINLINE static void transmit(int socket)
{
    require(system_call(SYS_sendto, socket, (long)"x", 1, 0, 0, 0) == 1, "send");
}

NOINLINE static void request(int socket)
{
    transmit(socket);
    receive(socket);
}

NOINLINE static void write_and_sync(int file)
{
    require(system_call(SYS_pwrite64, file, (long)block, BYTES, 0, 0, 0) == BYTES, "write");
    system_call(SYS_fdatasync, file, 0, 0, 0, 0, 0);
}

NOINLINE static void ask(void *argument)
{
    struct worker *worker = argument;

    begin(worker->report, "chain-client");
    for (int i = 0; i < REQUESTS; i++) {
        pause_us(PAUSE_US);
        operation_begins(worker->report);
        request(worker->to);
        operation_ends(worker->report);
    }
    end(worker->report);
}

NOINLINE static void relay(void *argument)
{
    struct worker *worker = argument;

    begin(worker->report, "chain-proxy");
    for (int i = 0; i < REQUESTS; i++) {
        receive(worker->from);
        operation_begins(worker->report);
        request(worker->to);
        operation_ends(worker->report);
        transmit(worker->from);
    }
    end(worker->report);
}

NOINLINE static void serve(void *argument)
{
    struct worker *worker = argument;

    begin(worker->report, "chain-server");
    for (int i = 0; i < REQUESTS; i++) {
        receive(worker->from);
        operation_begins(worker->report);
        write_and_sync(worker->file);
        operation_ends(worker->report);
        transmit(worker->from);
    }
    end(worker->report);
}

/* Both ends of a TCP connection over loopback. */
static void connect_pair(int *asking, int *asked)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    require(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0, "listen");
    require(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *asking = socket(AF_INET, SOCK_STREAM, 0);
    require(connect(*asking, (struct sockaddr *)&address, length) == 0, "connect");
    *asked = accept(listener, NULL, NULL);
    require(*asked >= 0, "accept");
    close(listener);
}

int main(int count, char **arguments)
{
    void (*work[WORKERS])(void *) = {ask, relay, serve};
    struct report *reports = shared_memory(WORKERS * sizeof(struct report));
    struct worker workers[WORKERS];
    int pids[WORKERS];

    require(count == 2, "usage: request_chain FILE");
    for (int i = 0; i < WORKERS; i++)
        workers[i].report = &reports[i];
    connect_pair(&workers[0].to, &workers[1].from);
    connect_pair(&workers[1].to, &workers[2].from);
    workers[2].file = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    require(workers[2].file >= 0, arguments[1]);
    require(write(workers[2].file, block, BYTES) == BYTES && fsync(workers[2].file) == 0, "the first write");
    for (int i = 0; i < WORKERS; i++)
        pids[i] = start(work[i], &workers[i]);
    for (int i = 0; i < WORKERS; i++)
        finish(pids[i]);
    print_document(reports, WORKERS, "");
    return 0;
}

/*
 * 53 times: overwrite the one block of the file named by the argument, fdatasync it, and pause 41 ms. The block has its
 * place on the disk before, so that each time is one write of 4096 bytes to the same sector.
 */
#include "measure.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITES = 53, BYTES = 4096, PAUSE_US = 41000 };

static const char block[BYTES];
static int file;

NOINLINE static void sync_file(void)
{
    system_call(SYS_fdatasync, file, 0, 0, 0, 0, 0);
}

NOINLINE static void write_and_sync(void *report)
{
    begin(report, "sync-writer");
    for (int i = 0; i < WRITES; i++) {
        system_call(SYS_pwrite64, file, (long)block, BYTES, 0, 0, 0);
        operation_begins(report);
        sync_file();
        operation_ends(report);
        pause_us(PAUSE_US);
    }
    end(report);
}

int main(int count, char **arguments)
{
    struct report *report = shared_memory(sizeof(struct report));

    require(count == 2, "usage: sync_writes FILE");
    file = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(file >= 0, arguments[1]);
    require(write(file, block, BYTES) == BYTES && fsync(file) == 0, "the first write");
    finish(start(write_and_sync, report));
    require(unlink(arguments[1]) == 0, "unlink");
    print_document(report, 1, "");
    return 0;
}

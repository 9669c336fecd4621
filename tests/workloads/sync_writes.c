/* 53 times: append 12 KiB to the file named by the argument, fsync it, and pause 41 ms. */
#include "measure.h"

#include <fcntl.h>
#include <sys/syscall.h>

enum { WRITES = 53, BYTES = 12288, PAUSE_US = 41000 };

static int file;

NOINLINE static void sync_file(void)
{
    system_call(SYS_fsync, file, 0, 0, 0, 0, 0);
}

NOINLINE static void write_and_sync(void *argument)
{
    static const char bytes[BYTES];
    struct report *report = argument;

    begin(report, "sync-writer");
    for (int i = 0; i < WRITES; i++) {
        system_call(SYS_write, file, (long)bytes, BYTES, 0, 0, 0);
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
    finish(start(write_and_sync, report));
    print_document(report, 1, "");
    return 0;
}

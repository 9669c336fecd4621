/*
 * A thread sleeps in code that it wrote itself at run time, and tells of it in /tmp/perf-PID.map, as compilers that run
 * beside a program do. The test removes the map. With an argument the process lives on until it is killed.
 */
#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLEEPS = 31, SLEEP_US = 3000, PAGE = 4096 };

/* push %rbp; mov %rsp,%rbp; call *%rsi; pop %rbp; ret: calls its second argument with its first. */
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd6, 0x5d, 0xc3};

typedef void written(long argument, void (*function)(long));

static written *write_code(void)
{
    unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char path[64];
    FILE *map;

    require(page != MAP_FAILED, "mmap");
    memcpy(page, code, sizeof code);
    require(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect");
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    map = fopen(path, "w");
    require(map && fprintf(map, "%lx %zx written::at run time\n", (long)page, sizeof code) > 0, path);
    require(fclose(map) == 0, path);
    return (written *)page;
}

int main(int count, char **arguments)
{
    struct report *report = shared_memory(sizeof *report);
    written *sleep_inside = write_code();

    begin(report, "jit");
    for (int i = 0; i < SLEEPS; i++) {
        operation_begins(report);
        sleep_inside(SLEEP_US, pause_us);
        operation_ends(report);
    }
    end(report);
    print_document(report, 1, "");
    if (count > 1) {
        fprintf(stderr, "%s\n", arguments[1]);
        pause();
    }
    return 0;
}

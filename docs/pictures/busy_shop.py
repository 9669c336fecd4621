"""The shop on a busy day, for the pictures: somebody copies files to its disk, visitors look its name up and find no door,
or one before which too many stand already.

    python3 busy_shop.py SECONDS
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

WORKLOAD = Path(__file__).with_name("workload.py")
NOBODY_LISTENS = 9
WAIT_AT_MOST = 1
COPIED = bytes(1 << 20)


def name_thread(name: str) -> None:
    """Give the calling thread its name."""
    Path("/proc/thread-self/comm").write_text(name)


def visit(is_closed: threading.Event) -> None:
    """Look the shop's host up, and knock at a port behind which nobody listens: the kernel drops that."""
    name_thread("shop-visitor")
    while not is_closed.wait(0.01):
        try:
            socket.create_connection(("localhost", NOBODY_LISTENS))
        except OSError:
            continue


def queue_up(is_closed: threading.Event) -> None:
    """Knock at a port behind which too many wait: the kernel drops that, and knocks again, less and less often."""
    name_thread("shop-queue")
    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("localhost", 0), backlog=WAIT_AT_MOST))
        for _ in range(WAIT_AT_MOST + 4):
            visitor = stack.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(door.getsockname())
        is_closed.wait()


def copy(is_closed: threading.Event) -> None:
    """Write to the shop's disk, and wait for it each time."""
    name_thread("shop-copier")
    with tempfile.TemporaryFile(dir=".", buffering=0) as file:
        while not is_closed.wait(0.005):
            file.write(COPIED)
            os.fsync(file.fileno())


def main(seconds: str) -> None:
    is_closed = threading.Event()
    threads = [threading.Thread(target=work, args=(is_closed,)) for work in (visit, queue_up, copy)]
    for thread in threads:
        thread.start()
    subprocess.run([sys.executable, WORKLOAD, seconds], check=True)
    is_closed.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])

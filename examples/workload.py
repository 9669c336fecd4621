"""A small shop that spends its time waiting, for `make demo` and the recording in this folder.

Clients wait for a server over TCP. The server's threads wait for a lock, which one of them holds while it waits for the
disk. A logger waits on a pipe. So a client's wait is explained only by following who woke whom: client, server, the
other server thread that held the lock, the disk.

    python3 examples/workload.py SECONDS
"""

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CLIENTS = 3
REQUEST = b"one order, please ".ljust(128, b".")
THINKING_S = 0.011


def name_thread(name: str) -> None:
    """Give the calling thread the name by which the kernel, and so the recording, knows it."""
    Path("/proc/thread-self/comm").write_text(name)


def receive_request(connection: socket.socket) -> bytes:
    return connection.recv(len(REQUEST), socket.MSG_WAITALL)


def write_journal(journal: BinaryIO, request: bytes) -> None:
    journal.write(request)
    os.fsync(journal.fileno())


def answer_client(connection: socket.socket, journal: BinaryIO, lock: threading.Lock, log: int) -> None:
    name_thread("shop-server")
    while request := receive_request(connection):
        with lock:
            write_journal(journal, request)
        os.write(log, request)
        connection.sendall(request)


def serve(listener: socket.socket, log: int) -> None:
    name_thread("shop-accept")
    lock = threading.Lock()
    with tempfile.TemporaryFile(dir=".", buffering=0) as journal:
        threads = []
        for _ in range(CLIENTS):
            connection, _address = listener.accept()
            threads.append(threading.Thread(target=answer_client, args=(connection, journal, lock, log)))
            threads[-1].start()
        for thread in threads:
            thread.join()


def ask(address: tuple[str, int], seconds: float) -> None:
    name_thread("shop-client")
    end = time.monotonic() + seconds
    with socket.create_connection(address) as connection:
        while time.monotonic() < end:
            connection.sendall(REQUEST)
            receive_request(connection)
            time.sleep(THINKING_S)


def write_log(log: int) -> None:
    name_thread("shop-logger")
    while os.read(log, 1 << 16):
        pass


def start(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; its process id."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid


def main(seconds: float) -> None:
    log_output, log_input = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        server = start(lambda: serve(listener, log_input))
    os.close(log_input)
    logger = start(lambda: write_log(log_output))
    clients = [start(lambda: ask(address, seconds)) for _ in range(CLIENTS)]
    for pid in [*clients, server, logger]:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]))

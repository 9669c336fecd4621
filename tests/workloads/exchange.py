"""Questions and answers over one TCP connection between two network namespaces.

    exchange.py NAMESPACE NAMESPACE ADDRESS ROUNDS BYTES REFUSED

A server in the second namespace answers every question of a client in the first with as many bytes; before that the client
asks so often at a port where nobody listens. Prints whose the two ends were, and by how much counters of the first namespace
grew meanwhile, as nstat has them: until no packet of the connection is on its way any more.
"""

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TIME_WAIT, LISTEN = "06", "0A"
NOBODYS = 9


def enter(namespace: str) -> None:
    with open(f"/run/netns/{namespace}") as entry:
        if ctypes.CDLL(None, use_errno=True).setns(entry.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), namespace)


def counters() -> dict[str, int]:
    text = subprocess.run(["nstat", "-asz", "--json"], capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = json.loads(text)["kernel"]
    return found


def await_end(port: int) -> None:
    """Wait until no connection of this namespace has the port; one that only sees to stragglers is none."""
    while True:
        lines = [line.split() for file in ("tcp", "tcp6") for line in open(f"/proc/thread-self/net/{file}").readlines()[1:]]
        if not any(int(words[1].rpartition(":")[2], 16) == port and words[3] not in (LISTEN, TIME_WAIT) for words in lines):
            return
        time.sleep(0.01)


def receive(connection: socket.socket, size: int) -> None:
    """Receive what the other end sent; it is acknowledged when it arrives, not with the answer, for which one has to run."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    connection.recv(size, socket.MSG_WAITALL)


def serve(listener: socket.socket, rounds: int, size: int) -> None:
    with listener.accept()[0] as asked:
        for _ in range(rounds):
            receive(asked, size)
            asked.sendall(bytes(size))
    await_end(listener.getsockname()[1])


def main() -> None:
    asking, answering, address = sys.argv[1:4]
    rounds, size, refused = map(int, sys.argv[4:])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    enter(answering)
    listener = socket.create_server((address, 0), family=family)
    port = listener.getsockname()[1]
    server = os.fork()
    if not server:
        serve(listener, rounds, size)
        os._exit(0)
    listener.close()
    enter(asking)
    before = counters()
    for _ in range(refused):
        with socket.socket(family) as client:
            assert client.connect_ex((address, NOBODYS)) == errno.ECONNREFUSED
    with socket.socket(family) as client:
        client.connect((address, port))
        own = client.getsockname()[1]
        for _ in range(rounds):
            client.sendall(bytes(size))
            receive(client, size)
    await_end(own)
    _, status = os.waitpid(server, 0)
    grown = {name: value - before.get(name, 0) for name, value in counters().items()}
    print(json.dumps({"server": server, "client": os.getpid(), "server_port": port, "client_port": own, "grown": grown}))
    sys.exit(os.waitstatus_to_exitcode(status))


main()

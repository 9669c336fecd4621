"""A wire with a delay: carries IP packets between two network namespaces, each of them after so many microseconds.

    relay.py NAMESPACE NAMESPACE MICROSECONDS

Both ends are TUN devices named wire0. It goes before all others on its CPU, so that packets are held no longer than meant.
Prints a line when it is ready. When its standard input ends, it prints how many packets went each way, and how long it held
them in all, in nanoseconds.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import json
import os
import select
import struct
import sys
import time

CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 1, 0x1000


def open_tun(namespace: str) -> int:
    with open(f"/run/netns/{namespace}") as entry:
        if ctypes.CDLL(None, use_errno=True).setns(entry.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wire0", IFF_TUN | IFF_NO_PI))
    return tun


def main() -> None:
    ends, delay_ns = [open_tun(name) for name in sys.argv[1:3]], int(sys.argv[3]) * 1000
    other = dict(zip(ends, reversed(ends), strict=True))
    carried, held_ns = dict.fromkeys(ends, 0), dict.fromkeys(ends, 0)
    waiting: list[tuple[int, int, int, int, bytes]] = []  # (when it is due, number, when it came, where it goes, packet)
    numbers = itertools.count()
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print("ready", flush=True)
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic_ns()) / 1e9 if waiting else None
        ready, _, _ = select.select([*ends, sys.stdin], [], [], timeout)
        now = time.monotonic_ns()
        for tun in (end for end in ends if end in ready):
            heapq.heappush(waiting, (now + delay_ns, next(numbers), now, other[tun], os.read(tun, 65536)))
        while waiting and waiting[0][0] <= time.monotonic_ns():
            _, _, came_ns, tun, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):  # that end is not up yet
                os.write(tun, packet)
                carried[tun] += 1
                held_ns[tun] += time.monotonic_ns() - came_ns
        if sys.stdin in ready:
            print(json.dumps({"packets": [*carried.values()], "held_ns": [*held_ns.values()]}))
            return


main()

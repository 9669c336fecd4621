"""Networks for the live tests: two namespaces, joined by a veth pair or by a wire with a delay, that nobody else sees."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

WORKLOADS = Path(__file__).parents[1] / "workloads"
ADDRESSES = (("10.99.0.1", "fd99::1"), ("10.99.0.2", "fd99::2"))
_numbers = count()


@dataclass(frozen=True)
class Network:
    """Two namespaces and the addresses of their ends: IPv4 and IPv6."""

    near: str
    far: str
    near_addresses: tuple[str, str] = ADDRESSES[0]
    far_addresses: tuple[str, str] = ADDRESSES[1]

    def inside(self, *command: str, far: bool = False) -> str:
        """Run a command in the near namespace, or the far one; what it printed."""
        entered = ["ip", "netns", "exec", self.far if far else self.near, *command]
        return subprocess.run(entered, capture_output=True, text=True, check=True).stdout

    def lose(self, every: int, size: int) -> None:
        """Let the far namespace drop every so many-th TCP packet of a size and more that comes in."""
        nth = ("-m", "statistic", "--mode", "nth", "--every", str(every), "--packet", str(every - 1))
        rule = ("-p", "tcp", "-m", "length", "--length", f"{size}:", *nth, "-j", "DROP")
        self.inside("iptables", "-A", "INPUT", *rule, far=True)

    def exchange(self, address: str, rounds: int, size: int, refused: int = 0) -> list[str | Path]:
        """The command of a workload between the two, see tests/workloads/exchange.py."""
        numbers = map(str, (rounds, size, refused))
        return [sys.executable, WORKLOADS / "exchange.py", self.near, self.far, address, *numbers]


@contextmanager
def _namespaces() -> Iterator[Network]:
    name = f"offwake-{os.getpid()}-{next(_numbers)}"
    network = Network(f"{name}-near", f"{name}-far")
    with ExitStack() as stack:
        for name in (network.near, network.far):
            subprocess.run(["ip", "netns", "add", name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield network


def _bring_up(network: Network, device: str) -> None:
    for name, addresses in zip((network.near, network.far), ADDRESSES, strict=True):
        for address, bits in zip(addresses, ("24", "64"), strict=True):
            no_dad = ["nodad"] if ":" in address else []  # else it is not used before a second has passed
            subprocess.run(["ip", "-n", name, "address", "add", f"{address}/{bits}", "dev", device, *no_dad], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)


@contextmanager
def veth() -> Iterator[Network]:
    """Two namespaces with a cable between them."""
    with _namespaces() as network:
        ends = ("link", "add", "veth0", "netns", network.near, "type", "veth", "peer", "name", "veth0", "netns", network.far)
        subprocess.run(["ip", *ends], check=True)
        _bring_up(network, "veth0")
        yield network


@contextmanager
def wire(delay_us: int) -> Iterator[tuple[Network, dict[str, Any]]]:
    """Two namespaces, each of whose packets takes so long to the other; what the relay did is known at the end."""
    told: dict[str, Any] = {}
    with _namespaces() as network:
        command: list[str | Path] = [sys.executable, WORKLOADS / "relay.py", network.near, network.far, str(delay_us)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
            assert relay.stdout is not None and relay.stdout.readline() == "ready\n"
            _bring_up(network, "wire0")
            yield network, told
            told |= json.loads(relay.communicate()[0])

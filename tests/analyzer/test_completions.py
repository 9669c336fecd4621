"""What fired in the interrupt that woke: schedules of completions, packets and wakings, each with the answer by hand.

Recordings last from 1000 ns to 5 ms. Thread 7 sleeps from 1100 ns on CPU 0 until CPU 1, which thread 8 keeps busy, wakes it.
"""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from offwake.analyzer import query
from offwake.analyzer.completions import End, without_time
from offwake.analyzer.interrupts import BLOCK, TCP, fired_before, interrupt_source
from offwake.analyzer.views import ViewOptions
from tests.analyzer.recorded import ALL, recorded
from tests.events import IDLE, Event, Known, Lost, Other, Stack, Switch, Trace, WakeupNew, Waking
from tests.traces import Cut

SEVEN = Known(7, 7, "seven", "R", 0)
EIGHT = Known(8, 8, "eight", "R", 1)
SLEEPS: Stack = ("main", "read", "entry_SYSCALL_64_[k]", "schedule_[k]")
WORKS: Stack = ("main", "compute")
SOFTIRQ: Stack = ("asm_common_interrupt_[k]", "common_interrupt_[k]", "__irq_exit_rcu_[k]", "handle_softirqs_[k]")
COMPLETES: Stack = (*SOFTIRQ, "blk_done_softirq_[k]", "blk_mq_end_request_[k]", "blk_update_request_[k]", "wake_[k]")
MAKES_ROOM: Stack = (*SOFTIRQ[:2], "virtblk_done_[k]", "blk_mq_start_stopped_hw_queues_[k]", "wake_[k]")
RECEIVES: Stack = (*SOFTIRQ, "net_rx_action_[k]", "tcp_v4_rcv_[k]", "sock_def_readable_[k]", "wake_[k]")
UDP: Stack = (*SOFTIRQ, "net_rx_action_[k]", "udp_rcv_[k]", "sock_def_readable_[k]", "wake_[k]")
WAKES: Stack = (*WORKS, "entry_SYSCALL_64_[k]", "futex_wake_[k]", "wake_[k]")
MS = 1_000_000
A, B = 0xFFFF_8880_0000_1000, 0xFFFF_8880_0000_2000
READ, WRITE, FLUSH, DISCARD = range(4)
NO_CUTS: Sequence[Cut] = ()


def issue(time_ns: int, request: int, operation: int = READ, size: int = 4096, minor: int = 0) -> Other:
    what = {"tid": 7, "bytes": size, "command": 0x8800 | operation, "major": 254, "minor": minor}
    return Other(time_ns, 0, "block_rq_issue", {"request": request, **what})


def queue(time_ns: int, request: int) -> Other:
    return Other(time_ns, 0, "block_io_start", {"request": request, "tid": 7})


def complete(time_ns: int, request: int, size: int = 4096, cpu: int = 1) -> Other:
    return Other(time_ns, cpu, "block_rq_complete", {"request": request, "bytes": size})


def packet(time_ns: int, local_port: int, remote_port: int, remote: str = "10.0.0.5") -> Other:
    address = ip_address(remote)
    octets = address.packed
    fields: dict[str, int | bytes] = {"family": 10, "remote6": octets}
    if address.version == 4:
        fields = {"family": 2, "remote4": int.from_bytes(octets, "little")}
    ports = {"local_port": local_port, "remote_port_be": int.from_bytes(remote_port.to_bytes(2, "little"), "big")}
    return Other(time_ns, 1, "tcp_data_ready", {"socket": 0xFFFF_8880_0000_3000, **fields, **ports})


def woken(*events: Event, cuts: Sequence[Cut] = NO_CUTS) -> list[str]:
    """Return who ended thread 7's waits, as `off-wake` names it; chains must end in the same."""
    begin, back = Switch(1100, 0, 7, IDLE, 1, stack=SLEEPS), Switch(5 * MS - 100, 0, IDLE, 7)
    trace = Trace(2, 1000, 5 * MS, [SEVEN, EIGHT], [begin, *events, back])
    with recorded(trace, cuts) as recording:
        found = [frames[-1] for frames, _ in query.profile(recording, "off-wake", ALL) if frames[0] == "seven"]
        for chain in ("time", "path"):
            chains = query.profile(recording, "chain", ALL, ViewOptions(chain=chain))
            ends = [frames[-1] for frames, _ in chains if frames[0] == "seven"]
            assert ends == found or found == ["eight"]
    return found


def wake(time_ns: int, stack: Stack = COMPLETES, cpu: int = 1) -> Waking:
    """CPU 1 wakes thread 7 from an interrupt on top of thread 8."""
    return Waking(time_ns, cpu, 8, 7, (*WORKS, *stack))


def test_a_wake_out_of_a_completion_is_by_the_request_that_completed() -> None:
    assert woken(issue(1200, A), complete(2 * MS, A), wake(2 * MS + 300)) == ["[vda read 4 KiB, 2 ms]"]


def test_a_device_without_a_name_has_numbers() -> None:
    assert woken(issue(1200, A, minor=7), complete(2 * MS, A), wake(2 * MS)) == ["[254:7 read 4 KiB, 2 ms]"]


@pytest.mark.parametrize("cuts", [NO_CUTS, [(1500, 1500)], [(2 * MS - 200, 2 * MS + 50)], [(2 * MS + 150, 2 * MS + 150)]])
def test_of_several_in_one_interrupt_it_is_the_last_before_the_wake(cuts: Sequence[Cut]) -> None:
    events = [
        issue(1200, A),
        issue(1300, B, WRITE, 131072),
        complete(2 * MS, A),
        complete(2 * MS + 100, B, 131072),
        wake(2 * MS + 200),
        complete(2 * MS + 300, A),
    ]
    assert woken(*events, cuts=cuts) == ["[vda write 128 KiB, 2 ms]"]


def test_wakes_in_between_belong_to_the_same_interrupt() -> None:
    other = Waking(2 * MS + 100, 1, 8, 9, (*WORKS, *COMPLETES))
    assert woken(issue(1200, A), complete(2 * MS, A), other, wake(2 * MS + 200)) == ["[vda read 4 KiB, 2 ms]"]


@pytest.mark.parametrize("cuts", [NO_CUTS, [(3 * MS, 3 * MS)]])
def test_a_completion_on_another_cpu_fired_elsewhere(cuts: Sequence[Cut]) -> None:
    assert woken(issue(1200, A), complete(2 * MS, A, cpu=0), wake(2 * MS + 300), cuts=cuts) == ["[block device]"]


def test_a_completion_before_a_switch_fired_in_another_interrupt() -> None:
    switched = Switch(2 * MS + 100, 1, 8, 9), Switch(2 * MS + 200, 1, 9, 8)
    assert woken(issue(1200, A), complete(2 * MS, A), *switched, wake(2 * MS + 300)) == ["[block device]"]
    assert woken(
        issue(1200, A), complete(2 * MS, A), *switched, wake(2 * MS + 300), cuts=[(2 * MS + 250, 2 * MS + 250)]
    ) == ["[block device]"]  # fmt: skip


def test_a_completion_before_lost_events_may_not_be_the_last() -> None:
    asleep = Switch(2 * MS + 250, 0, 7, IDLE, 1, stack=SLEEPS)  # a wait that nothing was lost in
    events = [issue(1200, A), complete(2 * MS, A), Waking(2 * MS + 10, 0, IDLE, 7), Switch(2 * MS + 20, 0, IDLE, 7)]
    found = woken(*events, Lost(2 * MS + 200, 1, 5), asleep, wake(2 * MS + 300))
    assert "[block device]" in found
    assert not any(end.startswith("[vda") for end in found)


def test_order_decides_however_long_the_machine_is_up_when_the_first_record_says_that_others_are_lost() -> None:
    up = 365 * 86_400 * 1000 * MS
    events = [
        Lost(up + 1050, 0, 5),
        Switch(up + 1100, 0, 7, IDLE, 1, stack=SLEEPS),
        issue(up + 1200, A),
        complete(up + 2 * MS, A),
        Switch(up + 2 * MS + 100, 1, 8, 9),
        wake(up + 2 * MS + 300),
        Switch(up + 3 * MS, 0, IDLE, 7),
    ]
    trace = Trace(2, up + 1000, up + 5 * MS, [SEVEN, EIGHT], events)
    with recorded(trace) as recording:
        wakers = {frames[0]: frames[-1] for frames, _ in query.profile(recording, "off-wake", ALL)}
    assert wakers["seven"] == "[block device]"


def test_a_wake_by_a_thread_long_after_a_completion_is_the_threads() -> None:
    assert woken(issue(1200, A), complete(1300, A), Waking(2 * MS, 1, 8, 7, WAKES)) == ["eight"]


@pytest.mark.parametrize(("stack", "source"), [(MAKES_ROOM, "[block device]"), (SOFTIRQ, "[softirq]")])
def test_an_interrupt_that_wakes_for_another_reason_has_its_own_source(stack: Stack, source: str) -> None:
    assert woken(issue(1200, A), complete(2 * MS, A), wake(2 * MS + 300, stack)) == [source]


def test_a_request_that_was_issued_before_the_recording_is_not_known() -> None:
    assert woken(complete(2 * MS, A), wake(2 * MS + 100)) == ["[block device]"]
    flushed = issue(1200, B, FLUSH, 0), complete(2 * MS - 50, B, 0)
    assert woken(*flushed, complete(2 * MS, A), wake(2 * MS + 100)) == ["[block device]"]


def test_a_request_that_was_requeued_is_served_since_it_was_issued_again() -> None:
    requeued = Other(1 * MS, 0, "block_rq_requeue", {"request": A, "tid": 7})
    again = issue(2 * MS, A)
    assert woken(issue(1200, A), requeued, again, complete(3 * MS, A), wake(3 * MS)) == ["[vda read 4 KiB, 1 ms]"]


@pytest.mark.parametrize("cuts", [NO_CUTS, [(1 * MS, 1 * MS)]])
def test_a_request_may_complete_in_parts(cuts: Sequence[Cut]) -> None:
    events = issue(1200, A, size=12288), complete(500_000, A), complete(2 * MS, A, 8192), wake(2 * MS)
    assert woken(*events, cuts=cuts) == ["[vda read 8 KiB, 2 ms]"]


@pytest.mark.parametrize("cuts", [NO_CUTS, [(1 * MS, 1 * MS)], [(2 * MS + 50, 2 * MS + 50)]])
def test_requests_that_asked_for_a_flush_end_with_it(cuts: Sequence[Cut]) -> None:
    asked = [queue(1200, A), queue(1250, B), issue(1300, 0xF, FLUSH, 0)]
    ended = [complete(2 * MS, 0xF, 0), complete(2 * MS + 100, A, 0), complete(2 * MS + 200, B, 0), wake(2 * MS + 300)]
    assert woken(*asked, *ended, cuts=cuts) == ["[vda flush, 2 ms]"]


def test_a_flush_of_another_interrupt_ends_nothing_here() -> None:
    events = queue(1200, A), issue(1300, 0xF, FLUSH, 0), complete(2 * MS, 0xF, 0)
    switched = Switch(2 * MS + 20, 1, 8, 9), Switch(2 * MS + 30, 1, 9, 8)
    assert woken(*events, *switched, complete(2 * MS + 50, A, 0), wake(2 * MS + 100)) == ["[block device]"]


def test_a_write_that_completes_once_more_after_its_data_is_that_write() -> None:
    events = issue(1200, A, WRITE), complete(2 * MS, A), complete(2 * MS + 50, A, 0), wake(2 * MS + 100)
    assert woken(*events) == ["[vda write 4 KiB, 2 ms]"]


@pytest.mark.parametrize(
    ("ports", "remote", "name"),
    [
        ((51234, 443), "10.0.0.5", "[TCP from 10.0.0.5:443]"),
        ((5432, 51234), "10.0.0.5", "[TCP from 10.0.0.5 to :5432]"),
        ((5432, 0), "0.0.0.0", "[TCP to :5432]"),
        ((51234, 443), "fd00::5", "[TCP from [fd00::5]:443]"),
        ((5432, 51234), "fd00::5", "[TCP from fd00::5 to :5432]"),
        ((5432, 51234), "::ffff:10.0.0.5", "[TCP from 10.0.0.5 to :5432]"),
    ],
)
def test_a_wake_out_of_a_packets_delivery_is_by_the_connection(ports: tuple[int, int], remote: str, name: str) -> None:
    assert woken(packet(2 * MS, *ports, remote), wake(2 * MS + 200, RECEIVES)) == [name]


def test_packets_of_both_families_are_told_apart() -> None:
    data = packet(2 * MS, 51234, 443), packet(2 * MS + 100, 51234, 443, "fd00::5")
    assert woken(*data, wake(2 * MS + 200, RECEIVES)) == ["[TCP from [fd00::5]:443]"]


def test_what_fired_must_be_what_the_stack_tells_of() -> None:
    data, done = packet(2 * MS, 51234, 443), (issue(1200, A), complete(2 * MS, A))
    assert woken(data, wake(2 * MS + 200, UDP)) == ["[network device]"]
    assert woken(data, wake(2 * MS + 200, COMPLETES)) == ["[block device]"]
    assert woken(*done, wake(2 * MS + 200, RECEIVES)) == ["[network device]"]


def test_a_thread_that_is_born_after_a_completion_has_its_parent() -> None:
    born = WakeupNew(2 * MS + 100, 1, 8, 9, 8, "nine", WAKES)
    assert woken(issue(1200, A), complete(2 * MS, A), born, wake(2 * MS + 200)) == ["[vda read 4 KiB, 2 ms]"]


@pytest.mark.parametrize(
    ("service_ns", "text"),
    [(0, "1 µs"), (900, "1 µs"), (60_000, "62 µs"), (250_000, "250 µs"), (700_000, "500 µs"), (720_000, "1 ms"),
     (9 * MS, "8 ms"), (800 * MS, "1 s"), (3000 * MS, "4 s"), (1 << 52, "4194304 s")],
)  # fmt: skip
def test_service_times_are_rounded_to_a_power_of_two(service_ns: int, text: str) -> None:
    begin, back = Switch(1100, 0, 7, IDLE, 1, stack=SLEEPS), Switch(service_ns + 5000, 0, IDLE, 7)
    events = [begin, issue(1200, A), complete(1200 + service_ns, A), wake(1300 + service_ns), back]
    with recorded(Trace(2, 1000, service_ns + 6000, [SEVEN, EIGHT], events)) as recording:
        [end] = [frames[-1] for frames, _ in query.profile(recording, "off-wake", ALL) if frames[0] == "seven"]
    assert end == f"[vda read 4 KiB, {text}]"
    assert without_time(end) == "[vda read 4 KiB]"


def test_only_a_service_time_is_left_out() -> None:
    assert without_time(str(End("vda flush", 2 * MS))) == "[vda flush]"
    assert without_time("[TCP from 10.0.0.5:443]") == "[TCP from 10.0.0.5:443]"
    assert without_time("worker, 8 ms") == "worker, 8 ms"


@pytest.mark.parametrize(
    ("frames", "source", "fired"),
    [
        (COMPLETES, "[block device]", BLOCK),
        (RECEIVES, "[network device]", TCP),
        (UDP, "[network device]", None),
        (("do_idle_[k]", "flush_smp_call_function_queue_[k]", *COMPLETES[3:]), "[block device]", BLOCK),
        (("main", "__local_bh_enable_ip_[k]", "do_softirq_[k]", *COMPLETES[3:]), "[block device]", BLOCK),
        (("main", "__local_bh_enable_ip_[k]", *RECEIVES[3:5], "process_backlog_[k]", *RECEIVES[5:]), None, None),
        (("kthread_[k]", "run_ksoftirqd_[k]", *COMPLETES[3:]), None, None),
        (("asm_sysvec_apic_timer_interrupt_[k]", *SOFTIRQ[2:], "rcu_core_[k]", "wake_[k]"), "[RCU]", None),
        (("asm_sysvec_apic_timer_interrupt_[k]", "hrtimer_interrupt_[k]", "wake_[k]"), "[timer]", None),
        (("asm_sysvec_irq_work_[k]", "irq_work_run_[k]", "wake_[k]"), "[irq work]", None),
        (("asm_sysvec_call_function_single_[k]", "sysvec_call_function_single_[k]", "wake_[k]"), "[IPI]", None),
        (("asm_sysvec_kvm_asyncpf_interrupt_[k]", "wake_[k]"), "[interrupt kvm_asyncpf_interrupt]", None),
        ((*SOFTIRQ[:2], "__handle_irq_event_percpu_[k]", "serial8250_interrupt_[k]", "wake_[k]"),
         "[interrupt serial8250_interrupt]", None),
    ],
)  # fmt: skip
def test_the_stack_tells_the_source_and_what_was_recorded_before(frames: Stack, source: str | None, fired: str) -> None:
    found = interrupt_source(frames[::-1])
    assert (found and found[1]) == source
    assert fired_before(frames[::-1]) == fired

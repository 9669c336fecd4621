"""The kernel's own account of waiting for a CPU, beside a recording's."""

from collections.abc import Callable

from tests.live.harness import Recorded


def test_on_a_saturated_cpu_run_queue_and_preemption_are_the_run_delay_of_schedstat(
    recorded: Callable[[str], Recorded],
) -> None:
    saturated = recorded("saturated")
    rows = {row["tid"]: row for row in saturated.table("threads")}
    for thread in saturated.threads:
        row = rows[thread.tid]
        assert thread.delay_ns > thread.cpu_ns  # or the CPU was not saturated
        queued_ns = row["run_queue_ns"] + row["preempted_ns"]
        assert abs(queued_ns - thread.delay_ns) <= 0.05 * thread.delay_ns + row["unknown_ns"], thread.name

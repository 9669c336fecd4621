"""Who really woke: wakes out of interrupts never blame the thread that was interrupted.

An interrupt runs on top of whatever it found, so the chain of a waking in it goes on into frames that have nothing to do
with the wake. Such a chain is cut at the interrupt's entry, and the waker is the interrupt's source.
"""

from functools import cache

__all__ = ["BLOCK", "TCP", "fired_before", "interrupt_source"]

# Entries of hardware interrupts (arch/x86/entry). asm_exc_* are exceptions: a page fault is the thread's own doing.
# An idle CPU answers calls of others without an interrupt, and runs the softirqs that they raised.
ENTRIES = ("asm_common_interrupt_[k]", "asm_sysvec_", "el1h_64_irq_[k]", "el0t_64_irq_[k]")
ANSWER_OF_IDLE = ("flush_smp_call_function_queue_[k]", "do_idle_[k]")
SOFTIRQ_OF_TASK = "__local_bh_enable_ip_[k]"
SOFTIRQS = ("handle_softirqs", "__do_softirq")
LOOPBACK_POLL = "process_backlog_[k]"
HANDLER_CALLER = "__handle_irq_event_percpu_[k]"
VECTOR = "asm_sysvec_"

# Which source a function on the way from the wake out to the entry speaks of: the innermost one that does.
SOURCES = (
    ("[network device]", ("net_rx_action", "net_tx_action", "napi_", "__napi_poll", "dev_watchdog")),
    ("[block device]", ("blk_", "__blk", "bio_endio", "scsi_", "nvme_", "virtblk_", "dm_")),
    ("[timer]", ("hrtimer_", "__hrtimer", "run_timer", "__run_timer", "call_timer", "tick_", "sysvec_apic_timer")),
    ("[RCU]", ("rcu_core", "rcu_exp_handler", "rcu_sched_clock_irq")),
    ("[scheduler]", ("sched_balance_", "_nohz_idle_balance", "run_rebalance_domains", "sched_tick")),
    ("[irq work]", ("irq_work_run", "__sysvec_irq_work")),
    ("[softirq]", SOFTIRQS),
    ("[IPI]", ("__flush_smp_call_function_queue", "flush_smp_call_function_queue", "sysvec_call_function",
               "sysvec_reschedule_ipi")),
)  # fmt: skip

BLOCK, TCP = "block", "tcp"
# What goes on after block_rq_complete was recorded, in the end of the request that it told of (block/blk-mq.c).
BLOCK_ENDS = ("blk_update_request", "blk_complete_request", "blk_mq_end_request", "__blk_mq_end_request")
# What goes on after sk_data_ready was recorded, where it is TCP that calls it (net/core/sock.c).
DATA_IS_READY = ("sock_def_readable", "tcp_data_ready")
TCP_RECEIVES = ("tcp_v4_rcv", "tcp_v6_rcv")


@cache
def interrupt_source(frames: tuple[str, ...]) -> tuple[int, str] | None:
    """Find the interrupt in a waker's frames (leaf first, as named by the symbolizer).

    Returns how many frames are the interrupt's, its entry included, and the name of its source; None when the thread
    itself woke. Softirqs that a thread runs on re-enabling bottom halves are the thread's own when they deliver through
    the backlog (loopback and veth deliver synchronously), else those of the interrupts that raised them.
    """
    for index, frame in enumerate(frames):
        if frame.startswith(ENTRIES) or frames[index : index + 2] == ANSWER_OF_IDLE:
            return index + 1, _source(frames[: index + 1])
        if frame == SOFTIRQ_OF_TASK and any(inner.startswith(SOFTIRQS) for inner in frames[:index]):
            return None if LOOPBACK_POLL in frames[:index] else (index + 1, _source(frames[: index + 1]))
    return None


@cache
def fired_before(frames: tuple[str, ...]) -> str | None:
    """Tell what was recorded just before a waking with these frames (leaf first), in the same interrupt.

    BLOCK: the completion of the request whose end the waking is a part of. TCP: the packet whose delivery it is a part
    of. None for a thread's own waking, and for an interrupt that woke for any other reason.
    """
    cut = interrupt_source(frames)
    if cut is None:
        return None
    frames = frames[: cut[0]]
    if any(frame.startswith(BLOCK_ENDS) for frame in frames):
        return BLOCK
    is_ready = any(frame.startswith(DATA_IS_READY) for frame in frames)
    return TCP if is_ready and any(frame.startswith(TCP_RECEIVES) for frame in frames) else None


def _source(frames: tuple[str, ...]) -> str:
    for frame in frames:
        for name, prefixes in SOURCES:
            if frame.startswith(prefixes):
                return name
        if frame == HANDLER_CALLER:
            break
    if HANDLER_CALLER in frames[1:]:
        handler = frames[frames.index(HANDLER_CALLER) - 1].removesuffix("_[k]")
        return f"[interrupt {handler}]"
    vector = frames[-1].removesuffix("_[k]")
    return f"[interrupt {vector.removeprefix(VECTOR)}]" if vector.startswith(VECTOR) else "[interrupt]"

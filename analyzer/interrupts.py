"""Who really woke: wakes out of interrupts never blame the thread that was interrupted.

An interrupt runs on top of whatever it found, so the chain of a waking in it goes on into frames that have nothing to do
with the wake. Such a chain is cut at the interrupt's entry, and the waker is the interrupt's source.
"""

from functools import cache

__all__ = ["interrupt_source"]

# Entries of hardware interrupts (arch/x86/entry). asm_exc_* are exceptions: a page fault is the thread's own doing.
ENTRIES = ("asm_common_interrupt_[k]", "asm_sysvec_", "el1h_64_irq_[k]", "el0t_64_irq_[k]")
SOFTIRQ_OF_TASK = "__local_bh_enable_ip_[k]"
LOOPBACK_POLL = "process_backlog_[k]"
HANDLER_CALLER = "__handle_irq_event_percpu_[k]"

# Which source some function on the way from the entry to the wake speaks of; the first that fits, so in this order.
SOURCES = (
    ("[network device]", ("net_rx_action", "napi_", "__napi_poll", "dev_watchdog")),
    ("[block device]", ("blk_", "__blk", "bio_endio", "scsi_", "nvme_", "virtblk_", "dm_")),
    ("[timer]", ("hrtimer_", "__hrtimer", "run_timer", "__run_timer", "call_timer", "tick_", "sysvec_apic_timer")),
    ("[RCU]", ("rcu_core",)),
)


@cache
def interrupt_source(frames: tuple[str, ...]) -> tuple[int, str] | None:
    """Find the interrupt in a waker's frames (leaf first, as named by the symbolizer).

    Returns how many frames are the interrupt's, its entry included, and the name of its source; None when the thread
    itself woke. A softirq that a thread runs on re-enabling bottom halves is the thread's own when it delivers through
    the backlog (loopback and veth deliver synchronously), else the network device's.
    """
    for index, frame in enumerate(frames):
        if frame.startswith(ENTRIES):
            return index + 1, _source(frames[: index + 1])
        if frame == SOFTIRQ_OF_TASK and "net_rx_action_[k]" in frames[:index]:
            return None if LOOPBACK_POLL in frames[:index] else (index + 1, "[network device]")
    return None


def _source(frames: tuple[str, ...]) -> str:
    for name, prefixes in SOURCES:
        if any(frame.startswith(prefixes) for frame in frames):
            return name
    if HANDLER_CALLER in frames:
        handler = frames[frames.index(HANDLER_CALLER) - 1].removesuffix("_[k]")
        return f"[interrupt {handler}]"
    return "[interrupt]"

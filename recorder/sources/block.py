"""Block I/O: every request from queueing to completion, keyed by the kernel's request pointer.

The pointer, and not the sector: one fsync's flush is issued as sector 0, completes as sector 2⁶⁴ − 1, and its parent
completes a second time without an issue.
"""

from offwake.recorder.sources import Event, Field, Source

REQUEST = Field("request", "u8", "args[0]")
WHO = Field("tid", "u4", "tid")
DEVICE = (
    Field("major", "u4", "args[0]->request.q.disk.major", older="args[0]->request.rq_disk.major"),  # before 5.15
    Field("minor", "u4", "args[0]->request.q.disk.first_minor", older="args[0]->request.rq_disk.first_minor"),
)
WHAT = (
    Field("sector", "u8", "args[0]->request.__sector"),
    Field("bytes", "u4", "args[0]->request.__data_len"),
    Field("command", "u4", "args[0]->request.cmd_flags"),
    *DEVICE,
)

SOURCE = Source(
    name="block",
    summary="block I/O requests from queueing to completion: block-io table, latency heat map and histogram",
    default=True,
    events=(
        # Since 6.5. Without it a request begins where it enters the device's queue.
        Event("block_io_start", "block_io_start", (WHO, REQUEST, *DEVICE), optional=True),
        Event("block_rq_insert", "block_rq_insert", (WHO, REQUEST)),
        Event("block_rq_issue", "block_rq_issue", (WHO, REQUEST, *WHAT)),
        Event("block_rq_requeue", "block_rq_requeue", (WHO, REQUEST)),
        Event(
            "block_rq_complete",
            "block_rq_complete",
            (Field("error", "i4", "args[1]"), Field("bytes", "u4", "args[2]"), REQUEST),
        ),
    ),
)

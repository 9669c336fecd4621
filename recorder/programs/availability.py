"""What this kernel can record: every source held against it as a recording would, and nothing recorded.

BTF, which anyone may read, tells which tracepoints and members there are. Whether the kernel takes the programs is known
when it has been asked to, which needs root.
"""

import os
from dataclasses import dataclass

from offwake.errors import CannotRecord
from offwake.recorder.host.machine_checks import check_machine
from offwake.recorder.kernel.btf import Btf
from offwake.recorder.programs.loading import WHOLE_STACKS, load, possible
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import Source

__all__ = ["Availability", "availability"]

STACK_BYTES = 64 << 10  # the default of --stack-kb


@dataclass(frozen=True)
class Availability:
    """What the kernel lacks: a sentence by the name of a source, or of an event that its source does without.

    `user_stacks` is "whole" or "frame pointers". Where the programs could not be loaded to see, it is "", and
    `unchecked` says why.
    """

    lacking: dict[str, str]
    user_stacks: str = ""
    why_no_whole_stacks: str = ""
    unchecked: str = ""


def availability(sources: list[Source]) -> Availability:
    """Find what of the sources this kernel can give. Their programs are loaded where this user may, and not attached.

    Raises CannotRecord where there is no BTF.
    """
    btf = Btf()
    try:
        check_machine()
        program = load(sources, Build(os.getpid(), STACK_BYTES))
    except CannotRecord as error:
        return Availability(possible(sources, btf).lacking, unchecked=str(error))
    program.close()
    lacking = dict(program.unavailable)
    why = lacking.pop(WHOLE_STACKS, "")
    return Availability(lacking, "whole" if program.build.user_stack_bytes else "frame pointers", why)

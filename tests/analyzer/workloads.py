"""Hypothesis strategies for the simulator's workloads."""

from hypothesis import strategies as st

from tests.programs import Block, Program, Rename, Run, Spawn, Step, Wake, Workload

__all__ = ["workloads"]

STATES = (1, 2, 0x402, 0x102, 0x2001)
"""S, D, I, D that a signal can kill, S that can be frozen."""

NAMES = st.sampled_from(("alpha", "beta", "gamma", "delta"))
TIMES = st.integers(0, 400)
BLOCKS = st.builds(
    Block,
    state=st.sampled_from(STATES),
    timeout_ns=st.none() | TIMES,
    listens=st.booleans(),
    source=st.sampled_from(("[timer]", "[block device]")),
)
STEPS = st.builds(Run, TIMES) | BLOCKS | st.builds(Wake, st.integers(0, 49)) | st.builds(Rename, NAMES)


def _programs(steps: st.SearchStrategy[Step], rounds: st.SearchStrategy[int]) -> st.SearchStrategy[Program]:
    some = st.lists(steps, min_size=1, max_size=6).map(tuple)
    return st.builds(Program, comm=NAMES, steps=some, rounds=rounds, kernel=st.booleans())


CHILDREN = _programs(STEPS, st.integers(1, 3))
PARENTS = _programs(STEPS | st.builds(Spawn, CHILDREN, st.booleans()), st.sampled_from((1, 4, 1_000_000)))
WORKERS = _programs(STEPS, st.just(1_000_000))
ALWAYS = st.sampled_from(
    (
        Program("spinner", (Run(1_000_000),)),
        Program("sleeper", (Block(timeout_ns=None, listens=False),)),
        Program("ticker", (Block(timeout_ns=90, listens=False), Run(5))),
        Program("kworker/0:1", (Block(0x402), Run(20)), kernel=True),
    )
)


MOMENTS = st.integers(0, 40)
PIECES_OF_WORK = st.builds(Run, MOMENTS) | st.builds(Block, st.sampled_from(STATES), MOMENTS)


@st.composite
def relays(draw: st.DrawFn) -> list[Program]:
    """Draw threads each of which waits for the next one's work; the last one works by itself, or by its descendants."""
    count = draw(st.integers(2, 9))
    stages = [(Block(), draw(PIECES_OF_WORK | STEPS), Wake(place - 1)) for place in range(count - 1)]
    work: tuple[Step, ...] = (*draw(st.lists(PIECES_OF_WORK, max_size=3)), Wake(count - 2))
    for _ in range(draw(st.integers(0, 2))):
        work = (
            *draw(st.lists(PIECES_OF_WORK, max_size=1)),
            Spawn(Program("child", work, rounds=1), draw(st.booleans())),
        )
    pause = Block(timeout_ns=draw(st.integers(20, 200)), listens=False)
    return [Program(draw(NAMES), steps) for steps in (*stages, (pause, *work))]


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw up to fifty threads on up to eight CPUs, and a few microseconds of recording."""
    first = draw(relays()) if draw(st.booleans()) else []  # they know one another by their places
    most = draw(st.sampled_from((3, 12, 50))) - len(first)
    others = draw(st.lists(WORKERS | PARENTS | ALWAYS, min_size=0 if first else 1, max_size=max(0, most)))
    return Workload(
        programs=(*first, *others),
        cpus=draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 2**32)),
        warm_up_ns=draw(st.integers(0, 2_000)),
        length_ns=draw(st.sampled_from((50, 1_000, 4_000))),
    )

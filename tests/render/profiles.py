"""Profiles for tests: a small one that is easy to add up, wide and deep ones, and one with hostile names."""

import random

from offwake.analyzer.profile import Profile

__all__ = ["HOSTILE", "hostile_profile", "large_profile", "small_profile"]

HOSTILE = (
    "<script>alert(1)</script>",
    "</text></svg><script>alert(1)</script>",
    "]]>",
    "<![CDATA[",
    "&amp;&#0;&bogus;",
    '" onload="alert(1)',
    "' onmouseover='alert(1)",
    "\x00\x01\x07\x08\x0b\x1f\x7f\x80\x9f",
    "\x1b[31mred\x1b]0;title\x07",
    "\ud800 lone \udfff",
    "\ufffe\uffff\ufeff",
    "\u202eright to left\u2028\u2029",
    "a;b;c",
    "line\nbreak\r\ttab",
    "",
    " ",
    "x" * 5000,
    "--",
    "all",
    "other",
    "名前 🦔",
    "{{ 7 * 7 }} {% raw %}",
)


def small_profile(view: str = "off-wake") -> Profile:
    """Return 100 ms: nginx 60 ms (40 of them in a read that postgres ended), redis 30 ms, an idle shell 10 ms."""
    profile = Profile(view, hidden_ns=5_000_000_000)
    profile.add(("nginx", "main", "read_[k]", "--", "write_[k]", "reply", "postgres"), 40_000_000, 4)
    profile.add(("nginx", "main", "futex_[k]", "--", "wake_[k]", "unlock", "nginx"), 20_000_000, 2)
    profile.add(("redis", "epoll_[k]"), 30_000_000, 3)
    profile.add(("sh", "wait_[k]"), 10_000_000, 1)
    return profile


def hostile_profile(stacks: int = 10_000) -> Profile:
    """Return stacks of names that try to break out of every format, and of random characters."""
    chosen = random.Random(11)
    profile = Profile("off-wake")
    for number in range(stacks):
        noise = "".join(chr(chosen.choice((chosen.randrange(0x200), chosen.randrange(0x110000)))) for _ in range(6))
        profile.add((chosen.choice(HOSTILE), noise, f"{chosen.choice(HOSTILE)}{number}"), chosen.randrange(1, 10_000))
    return profile


def large_profile(stacks: int = 5_000, depth: int = 20, seed: int = 7) -> Profile:
    """Return about `stacks` × `depth` frames: stacks part from each other early, some weigh far more than most."""
    chosen = random.Random(seed)
    names = [f"function_{number}{'_[k]' if number % 3 else ''}" for number in range(2_000)]
    profile = Profile("off-cpu")
    for _ in range(stacks):
        frames = ("server", chosen.choice(names[:5]), *chosen.choices(names, k=depth - 2))
        profile.add(frames, int(chosen.paretovariate(1.1) * 1_000_000))
    return profile

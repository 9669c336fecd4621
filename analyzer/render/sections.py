"""Sections: what offwake says in words, as lines that a terminal prints and a page links to their stacks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from offwake.analyzer.render.text import printable
from offwake.analyzer.select import Selection

__all__ = ["Line", "Opens", "Section", "text_lines"]


@dataclass(frozen=True)
class Opens:
    """The stacks that a line is about: a view, and which of its stacks."""

    view: str
    selection: Selection


@dataclass(frozen=True)
class Line:
    """One line: a figure, if any, and words. `depth` is how far it is subordinate to the lines before it, 0 to 2."""

    text: str
    figure: str = ""
    depth: int = 0
    opens: Opens | None = None


@dataclass(frozen=True)
class Section:
    """Lines under a title."""

    title: str
    lines: list[Line] = field(default_factory=list)


def text_lines(sections: Iterable[Section]) -> Iterator[str]:
    """Yield sections as printable lines, with an empty one between them; figures and words stand below each other."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield printable(section.title)
        yield from (printable(_text(line)) for line in section.lines)


def _text(line: Line) -> str:
    if not line.depth:
        return f"  {line.figure:>10}  {line.text}" if line.figure else f"  {line.text}"
    return f"{line.figure:>21} {line.text}" if line.figure or line.depth > 1 else f"{'':14}{line.text}"

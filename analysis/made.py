"""What tables and figures have in common: what they show, under which protocol, and what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.papers import footnotes

if TYPE_CHECKING:
    from analysis.match import Match


@dataclass(frozen=True)
class Made:
    """A table or figure, ready to be written in any format.

    Attributes:
        id: of it.
        title: what it shows.
        source: where the paper has it.
        protocol: how its runs were trained, in words; empty where there are none.
        overrides: the same as overrides of its sweep.
        paper: whether that is the paper's recipe; only then are there printed values.
        runs: how many of its runs are there, and how many it has; (0, 0) where it needs none.
        notes: what is missing or left out, and why.
        footnotes: what is known to be inconsistent in the paper.
        command: trains what is missing; None if nothing is.
    """

    id: str
    title: str
    source: str
    protocol: str
    overrides: tuple[str, ...]
    paper: bool
    runs: tuple[int, int]
    notes: tuple[str, ...]
    footnotes: tuple[str, ...]
    command: str | None

    @property
    def headline(self) -> str:
        """Title, source and protocol, in one line."""
        start = f"{self.id}. {self.title} ({self.source})"
        if not self.protocol:
            return start
        how = "the paper's recipe" if self.paper else "not the paper's recipe"
        words = f"; {' '.join(self.overrides)}" if self.overrides else ""
        return f"{start}, {how}: {self.protocol}{words}"

    def below(self, remarks: Iterable[str]) -> list[str]:
        """`remarks` and the command for what is missing, as lines of Markdown."""
        lines = [f"- {remark}" for remark in remarks]
        return [*lines, "", "To train what is missing:", "", f"    {self.command}"] if self.command else lines


def common(name: str, source: str, found: "Match") -> dict[str, Any]:
    """The attributes of `Made`, from the id and source of a definition and its matched runs."""
    protocol = found.protocol
    return {
        "id": name,
        "title": protocol.sweep.title,
        "source": source,
        "protocol": str(protocol),
        "overrides": protocol.overrides,
        "paper": protocol.paper,
        "runs": found.counts,
        "notes": found.notes,
        "footnotes": tuple(footnotes(name)) if protocol.paper else (),
        "command": found.command,
    }

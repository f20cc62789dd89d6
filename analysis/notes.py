"""What is said about runs that are left out, or not used as they are: one sentence for each reason."""

from dataclasses import dataclass, field

NAMED = 5  # a sentence names so many runs, and counts the rest


@dataclass(frozen=True)
class Reason:
    """Why runs are spoken of.

    Attributes:
        text: what they have in common, after their number.
        noun: what they are.
        used: whether they are in the table all the same.
    """

    text: str
    noun: str = "run"
    used: bool = False


REASONS = {
    "foreign": Reason("without a whole config.yaml, so no runs", noun="folder"),
    "foreign_run": Reason("of other software"),
    "version": Reason("of a schema version that this software does not read"),
    "unresolved": Reason("whose configuration is no resolved one of a run", noun="folder"),
    "unreadable": Reason("not readable", noun="folder"),
    "accuracy": Reason("with an accuracy that is no number; train again with force=true"),
    "torn": Reason("without a whole summary.json"),
    "renamed": Reason("renamed or edited: the configuration is that of another signature", used=True),
    "metrics": Reason("with a metrics.jsonl that is not whole; the summary is used", used=True),
    "twice": Reason("found more than once, with different results or code; what finished last is used", used=True),
}


@dataclass
class Notes:
    """Runs by reason: a key of `REASONS`, or a state."""

    runs: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, run: str, detail: object = "") -> None:
        """Say it of one more run; `detail` is what only it has."""
        self.runs.setdefault(reason, []).append(f"{run} ({detail})" if detail else run)

    def sentences(self) -> list[str]:
        """What is left out, then what is used all the same."""
        reasons = {name: REASONS.get(name, Reason(name)) for name in self.runs}
        order = sorted(
            reasons, key=lambda name: (reasons[name].used, list(REASONS).index(name) if name in REASONS else -1)
        )
        return [self._sentence(reasons[name], self.runs[name]) for name in order]

    def _sentence(self, reason: Reason, runs: list[str]) -> str:
        count = f"{len(runs)} {reason.noun}" + ("s" if len(runs) > 1 else "")
        more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
        out = "" if reason.used else "left out: "
        return f"{out}{count} {reason.text}: {', '.join(runs[:NAMED])}{more}"

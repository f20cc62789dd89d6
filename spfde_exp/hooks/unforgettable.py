"""Unforgettable examples over training (MEST Figures 3 and F.3; definitions in its appendix F.1)."""

from spfde_exp.sieve.forgetting import ForgettingCounter


class Unforgettable:
    """What each epoch does to the examples that were right once and never wrong after that."""

    def __init__(self, counter: ForgettingCounter) -> None:
        """Watch `counter`, from where it stands."""
        self.counter = counter
        self.before = self._counts()

    def _counts(self) -> dict[str, int]:
        return {
            "newly_learned": int(self.counter.total_learned.sum()),
            "newly_forgotten": int((self.counter.total_events > 0).sum()),
            "forgetting_events": self.counter.forgetting_events,
        }

    def take(self) -> dict[str, int]:
        """Counts of examples since the last call.

        Returns:
            ``unforgettable`` so far, ``newly_learned`` (right for the first time), ``newly_forgotten`` (for the first
            time), ``forgetting_events``. Unforgettable ones grow by newly learned less newly forgotten ones.
        """
        now = self._counts()
        answer = {name: now[name] - self.before[name] for name in now}
        self.before = now
        return {"unforgettable": self.counter.unforgettable, **answer}

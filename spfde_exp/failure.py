"""Why a run ended before its last epoch: the classes of `failure` in status.json. Needs no torch."""

from spfde_exp.errors import UserError

OUT_OF_MEMORY = "out_of_memory"
NAN_LOSS = "nan_loss"
TIME_LIMIT = "time_limit"
CRASH = "crash"
LOST_NODE = "lost_node"
CANCELLED = "cancelled"
BAD_INPUT = "bad_input"

BY_CANCEL = "cancelled by `runs cancel`"  # what is told of CANCELLED

# The others end the same way again: training is deterministic, and what is cancelled is not wanted.
RETRIED = (OUT_OF_MEMORY, TIME_LIMIT, CRASH, LOST_NODE)


class NanLoss(UserError):
    """The training loss is not finite, or a weight or gradient that is ranked is not a number."""


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; it goes on from its last checkpoint.

    Attributes:
        failure: class of what made it stop, or None where it is simply to go on later.
    """

    def __init__(self, reason: str, failure: str | None = None) -> None:
        super().__init__(reason)
        self.failure = failure


def classify(error: BaseException) -> str | None:
    """The class of what ended a run; None for an interruption after which it simply goes on."""
    if isinstance(error, Stopped):
        return error.failure
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return None
    if isinstance(error, NanLoss):
        return NAN_LOSS
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return OUT_OF_MEMORY  # torch's OutOfMemoryError of a GPU; RuntimeError of its CPU allocator
    return BAD_INPUT if isinstance(error, UserError) else CRASH

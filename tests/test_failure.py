"""Every way in which a run ends early has a class."""

import pytest
import torch

from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED, CRASH, NAN_LOSS, OUT_OF_MEMORY, RETRIED, TIME_LIMIT, NanLoss, Stopped, classify


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (NanLoss("the loss became nan"), NAN_LOSS),
        (MemoryError(), OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), OUT_OF_MEMORY),
        (ZeroDivisionError(), CRASH),
        (UserError("metrics.jsonl has lost epochs"), "bad_input"),
        (Stopped("stopped at the job's time limit", TIME_LIMIT), TIME_LIMIT),
        (Stopped("cancelled", CANCELLED), CANCELLED),
        (Stopped("stopped by SIGTERM"), None),
        (KeyboardInterrupt(), None),
        (SystemExit(1), None),
    ],
)
def test_classes(error, failure):
    assert classify(error) == failure


def test_what_torch_raises_where_memory_is_short_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert classify(caught.value) == OUT_OF_MEMORY


def test_only_what_may_pass_is_tried_again():
    assert not {NAN_LOSS, CANCELLED, "bad_input"} & set(RETRIED)

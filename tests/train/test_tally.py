"""An epoch's sums, read once."""

import torch

from spfde_exp.sieve.sieve import Sieve
from spfde_exp.train.tally import Tally


def test_means_by_hand() -> None:
    """Batches of 3 and 1 examples: losses weigh as many examples as they are means of."""
    tally = Tally()
    tally.add(torch.tensor(2.0), torch.tensor([True, False, True]), torch.tensor([4, 0, 2]))
    tally.add(torch.tensor(6.0), torch.tensor([False]), torch.tensor([1]))
    assert tally.means() == (3.0, 50.0)


def test_the_sieve_counts_an_epoch_at_once_as_batch_by_batch() -> None:
    draw = torch.Generator().manual_seed(0)
    at_once, by_batch = (Sieve(50, 0.2, torch.Generator().manual_seed(1)) for _ in range(2))
    for _ in range(6):
        tally = Tally()
        order = at_once.kept[torch.randperm(len(at_once.kept), generator=draw)]
        for indices in order.split(7):
            right = torch.rand(len(indices), generator=draw) < 0.5
            tally.add(torch.tensor(1.0), right, indices)
            by_batch.observe(indices, right)
        tally.observed_by(at_once)
    for name, value in by_batch.counter.state_dict().items():
        assert torch.equal(at_once.counter.state_dict()[name], value), name
    assert at_once.counter.forgetting_events > 0

"""Class-balanced, seeded choice of examples."""

import torch
from torch import Tensor

from spfde_exp.errors import UserError


def balanced_indices(labels: Tensor, n: int, seed: int, key: str = "n") -> Tensor:
    """`n` different indices into `labels` (int64 [N]), ascending; class sizes differ by one at most.

    With the same labels and seed a larger draw contains a smaller one. Raises UserError, naming `key`, if `n`
    is less than the number of classes or more than the smallest class allows.
    """
    generator = torch.Generator().manual_seed(seed)
    classes, counts = labels.unique(return_counts=True)
    smallest = int(counts.min())
    most = smallest * len(classes) + int((counts > smallest).sum())
    if not len(classes) <= n <= most:
        raise UserError(
            f"{key} asks for {n} class-balanced examples out of {len(labels)} in {len(classes)} classes: "
            f"allowed are {len(classes)} to {most}"
        )
    # Classes take turns, each in its own random order. Those with an example to spare come first, so that
    # a last, incomplete round never meets an exhausted class.
    order = torch.randperm(len(classes), generator=generator)
    order = order[(counts[order] == smallest).to(torch.int64).argsort(stable=True)]
    rounds = -(-n // len(classes))
    table = torch.full((rounds, len(classes)), -1)
    for column, index in enumerate(order.tolist()):
        members = (labels == classes[index]).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=generator)][:rounds]
        table[: len(shuffled), column] = shuffled
    return table.flatten()[:n].sort().values

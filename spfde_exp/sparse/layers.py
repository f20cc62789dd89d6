"""Which layers of a model are masked (`sparsity.prunable`)."""

from torch import nn

from spfde_exp.errors import UserError


def weight_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Name -> module of every convolution and linear layer, in definition order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def prunable_weights(model: nn.Module, which: str) -> dict[str, nn.Parameter]:
    """Layer name -> weight of the layers to mask.

    Args:
        which: ``convs_but_first``, every convolution but the first (SpFDE section 5); or ``block_3x3``, the 3x3
            convolutions but the first (the released MEST code, where 1x1 shortcuts stay dense).

    Raises:
        UserError: the model has no such layer.
    """
    convs = {name: m for name, m in weight_layers(model).items() if isinstance(m, nn.Conv2d)}
    chosen = dict(list(convs.items())[1:])
    if which == "block_3x3":
        chosen = {name: conv for name, conv in chosen.items() if conv.kernel_size == (3, 3)}
    if not chosen:
        other = ", or set sparsity.prunable=convs_but_first" if which == "block_3x3" else ""
        raise UserError(f"the model has no layer for sparsity.prunable={which}; train it with method=dense{other}")
    return {name: conv.get_parameter("weight") for name, conv in chosen.items()}

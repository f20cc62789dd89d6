"""Some blocks of a model as a module of their own, which torch.fx can trace."""

from torch import Tensor, nn

from spfde_exp.models.base import BlockModel
from spfde_exp.models.custom import CustomModel

NET = "net"  # a part, and what is traced of it, holds under this name the submodules of the model, by their names there


class Part(nn.Module):
    """The first blocks of a model, or what follows them."""

    def __init__(self, model: BlockModel, blocks: int, *, leading: bool) -> None:
        """The first `blocks` blocks of `model` (`leading`), or all behind them; modules are shared."""
        super().__init__()
        self.add_module(NET, model)
        self.blocks, self.leading = blocks, leading

    def forward(self, x: Tensor) -> Tensor:
        model = self.get_submodule(NET)
        assert isinstance(model, BlockModel)
        if isinstance(model, CustomModel):  # it looks at what comes out, and at what trains
            return model.net(x)
        return model.leading(x, self.blocks) if self.leading else model.rest(x, self.blocks)

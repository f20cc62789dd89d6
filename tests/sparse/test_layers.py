"""Which layers are masked, on the papers' ResNet-32 and on hand-made networks."""

import pytest
from torch import nn

from spfde_exp.errors import UserError
from spfde_exp.models import build
from spfde_exp.sparse.layers import prunable_weights, weight_layers


def test_resnet32_as_the_papers_say() -> None:
    model = build("resnet32", 2, 100, 3)
    chosen = prunable_weights(model, "convs_but_first")
    # 30 convolutions of blocks and 2 shortcuts: 1,854,304 conv weights less the stem's 3 x 32 x 9
    assert len(chosen) == 32
    assert sum(w.numel() for w in chosen.values()) == 1_854_304 - 864
    assert "stem.conv" not in chosen and "classifier" not in chosen


def test_resnet32_as_the_released_code_does() -> None:
    chosen = prunable_weights(build("resnet32", 2, 100, 3), "block_3x3")
    assert len(chosen) == 30
    assert sum(w.numel() for w in chosen.values()) == 1_843_200
    assert not any("shortcut" in name for name in chosen)


def test_the_first_convolution_is_dense_whatever_its_kernel() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 4, (1, 3)))
    assert list(weight_layers(model)) == ["0", "1", "2", "3"]
    assert list(prunable_weights(model, "convs_but_first")) == ["2", "3"]
    assert list(prunable_weights(model, "block_3x3")) == ["2"]


def test_the_weights_are_the_models_own() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
    assert prunable_weights(model, "convs_but_first")["1"] is model[1].weight


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Conv2d(1, 2, 3))])
def test_nothing_to_prune_is_refused(model: nn.Module) -> None:
    with pytest.raises(UserError, match="sparsity.prunable=convs_but_first"):
        prunable_weights(model, "convs_but_first")

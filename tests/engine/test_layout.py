"""The batch-innermost layout: shapes stay NCHW, buffers are shared, and a border that is found is zero."""

import pytest
import torch

from spfde_exp.engine.layout import border_of, empty, padded, to_layout


@pytest.mark.parametrize("border", [0, 1, 2])
def test_a_tensor_keeps_its_shape_and_numbers(border: int) -> None:
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    inside = to_layout(x, border)
    assert inside.shape == x.shape
    assert torch.equal(inside, x)
    assert border_of(inside) == border
    buffer = padded(inside)
    assert buffer.shape == (3, 4 + 2 * border, 5 + 2 * border, 2)
    assert buffer.is_contiguous()
    assert torch.equal(buffer, torch.nn.functional.pad(x.permute(1, 2, 3, 0), (0, 0, border, border, border, border)))


def test_the_buffer_is_the_tensors_memory() -> None:
    x = empty(2, 3, 4, 5, border=1)
    x.fill_(1.0)
    padded(x)[:, 1:-1, 1:-1] *= 2
    assert (x == 2).all()
    assert padded(x).sum() == 2 * x.numel()  # the border is still zero
    assert to_layout(x, 1) is x
    assert to_layout(x, 0) is x
    assert padded(x, 1).data_ptr() == padded(x).data_ptr()


def test_another_layout_is_copied() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert border_of(x) is None
    assert border_of(x.to(memory_format=torch.channels_last)) is None
    assert torch.equal(padded(x, 1)[:, 1:-1, 1:-1].permute(3, 0, 1, 2), x)
    wider = to_layout(to_layout(x, 1), 2)
    assert border_of(wider) == 2
    assert torch.equal(wider, x)


def test_what_pytorch_makes_of_it_has_no_border() -> None:
    x = to_layout(torch.randn(2, 3, 4, 5), 1)
    for result in (x.relu(), x + 1, x.clone(), torch.empty_like(x)):
        assert border_of(result) == 0  # the layout is kept, dense


@pytest.mark.parametrize("border", [0, 1])
def test_a_crop_is_not_taken_for_a_tensor_with_a_border(border: int) -> None:
    """Its strides are those of one, and what lies around it is not zero."""
    crop = to_layout(torch.ones(2, 3, 6, 6), border)[:, :, 1:-1, 1:-1]
    assert border_of(crop) is None
    buffer = padded(crop, 1)
    assert buffer.sum() == crop.numel()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 2), (7, 1, 2, 1)])
def test_dimensions_of_one(shape: tuple[int, int, int, int]) -> None:
    x = torch.randn(shape)
    for border in (0, 1):
        inside = padded(x, border)[:, border : border + shape[2], border : border + shape[3]]
        assert torch.equal(inside.permute(3, 0, 1, 2), x)
        assert border_of(to_layout(x, border)) is not None

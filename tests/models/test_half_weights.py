"""16-bit copies of weights against casting each of them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.models.half_weights import half_weights  # noqa: E402
from kaggle_utils.models.packed_deberta_layer import layer_weights  # noqa: E402


def weights():
    torch.manual_seed(0)
    shapes = [(4, 6), (3, 6), (5,), (2, 2, 2)]
    return [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_copies_and_gradients_are_those_of_casting_each(dtype):
    given, alone = weights(), weights()
    stacked, vector, cube = half_weights([given[:2], [given[2]], [given[3]]], dtype)
    assert stacked.dtype == vector.dtype == cube.dtype == dtype
    wanted = [weight.to(dtype) for weight in alone]
    assert torch.equal(stacked, torch.cat(wanted[:2]))
    assert torch.equal(vector, wanted[2]) and torch.equal(cube, wanted[3])
    (stacked.float().pow(2).sum() + vector.sum() + (3 * cube.float()).sum()).backward()
    (torch.cat(wanted[:2]).float().pow(2).sum() + wanted[2].sum() + (3 * wanted[3].float()).sum()).backward()
    for mine, theirs in zip(given, alone, strict=True):
        assert mine.grad.dtype == torch.float32
        assert torch.equal(mine.grad, theirs.grad)


def test_what_was_not_used_gets_zeros_and_what_is_not_trained_nothing():
    used, unused = weights()[:2]
    copies = half_weights([[used], [unused]], torch.bfloat16)
    copies[0].sum().backward()
    assert torch.equal(used.grad, torch.ones_like(used)) and torch.equal(unused.grad, torch.zeros_like(unused))
    assert not half_weights([[used.detach()]], torch.bfloat16)[0].requires_grad


def layers(**changes):
    config = transformers.DebertaV2Config(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], share_att_key=True, **changes,
    )  # fmt: skip
    return list(transformers.DebertaV2Model(config).encoder.layer)


def test_layers_are_copied_where_casting_is_needed_and_all_are_plain_linear_layers():
    found = layer_weights(layers(), torch.bfloat16, fixed=False)
    assert [each.projections.shape for each in found] == [(96, 32)] * 2
    assert found[0].inner_bias.shape == (48,) and found[1].outer.dtype == torch.bfloat16

    class Adapted(torch.nn.Linear):
        """Of another type, as adapters and quantised layers are."""

    adapted, partly, half, frozen = layers(), layers(), layers(), layers()
    adapted[1].output.dense = Adapted(48, 32)
    partly[0].intermediate.dense.weight.requires_grad_(False)
    for layer in half:
        layer.to(torch.bfloat16)
    for layer in frozen:
        layer.requires_grad_(False)
    for some in (adapted, partly, half):
        assert layer_weights(some, torch.bfloat16, fixed=False) == [None, None]
    assert layer_weights(layers(), torch.float32, fixed=False) == [None, None]
    assert not layer_weights(frozen, torch.float16, fixed=False)[0].inner.requires_grad

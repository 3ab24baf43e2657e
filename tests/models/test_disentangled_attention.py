"""Disentangled attention over packed rows against its definition, term by term."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.models.disentangled_attention import (  # noqa: E402
    choose_disentangled_attention,
    distance_index,
    reference_attention,
    window_of,
)

LENGTHS = (130, 64, 1, 0, 100, 65)
SIZE = 64
SCALE = (3 * SIZE) ** -0.5


def by_definition(query, key, value, key_table, query_table, starts, window):
    """The formula with a table of all pairs; also the probabilities."""
    rows, bounds = [], starts.tolist()
    for a, b in itertools.pairwise(bounds):
        q, k, v = (x[a:b].transpose(0, 1) for x in (query, key, value))
        place = torch.arange(b - a, device=q.device)
        distance = place[:, None] - place[None] + window
        scores = q @ k.transpose(1, 2)
        scores = scores + torch.einsum("hid,ijhd->hij", q, key_table[distance])
        scores = scores + torch.einsum("hjd,ijhd->hij", k, query_table[distance])
        rows.append(((scores * SCALE).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(rows)


def inputs(device="cpu", dtype=torch.float32, heads=2):
    torch.manual_seed(0)
    window = window_of(max(LENGTHS))
    starts = torch.tensor([0, *LENGTHS], device=device).cumsum(0).int()
    shapes = [(sum(LENGTHS), heads, SIZE)] * 3 + [(2 * window, heads, SIZE)] * 2
    tensors = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]
    return tensors, starts, window


def stacked(tensors):
    """Queries, keys and values as one tensor, and the tables as another."""
    return torch.stack(tensors[:3], 1), torch.stack([tensors[4], tensors[3]], 1)


def compare(attend, tensors, starts, window, tolerance):
    seed = torch.zeros(1, dtype=torch.int64, device=starts.device)
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    found = attend(*stacked(tensors), starts, seed, window, SCALE, 0.0)
    wanted = by_definition(*exact, starts, window)
    weights = torch.randn_like(wanted)
    (found.float() * weights).sum().backward()
    (wanted * weights).sum().backward()
    pairs = {"output": (found, wanted)}
    names = ("query", "key", "value", "key table", "query table")
    pairs |= {name: (a.grad, b.grad) for name, a, b in zip(names, tensors, exact, strict=True)}
    for name, (a, b) in pairs.items():
        error = ((a.float() - b).abs().max() / b.abs().max()).item()
        assert error < tolerance, f"{name} is off by {error:.2g} of its largest number"


def test_rows_of_all_lengths_equal_the_definition_forward_and_in_gradients():
    tensors, starts, window = inputs()
    compare(reference_attention, tensors, starts, window, 1e-5)


def test_a_cpu_and_float32_take_the_reference():
    for dtype in (torch.float32, torch.bfloat16):
        chosen = choose_disentangled_attention(dtype, torch.device("cpu"), heads=2, size=SIZE)
        assert chosen is reference_attention


def test_dropout_keeps_the_mean_and_drops_its_share():
    tensors, starts, window = inputs()
    with torch.no_grad():
        ones = torch.ones_like(tensors[2])
        tensors[2] = ones
        drawn = [reference_attention(*stacked(tensors), starts, None, window, SCALE, 0.3) for _ in range(30)]
    mean = torch.stack(drawn).mean(0)
    assert abs(mean.mean().item() - 1) < 0.01
    single = mean[LENGTHS[0] + LENGTHS[1]]  # the row of one token keeps its only probability, or loses it
    kept = {round(draw[LENGTHS[0] + LENGTHS[1], 0, 0].item(), 4) for draw in drawn}
    assert kept <= {0.0, round(1 / 0.7, 4)} and single.min() >= 0


@pytest.mark.parametrize("buckets", [256, 32, -1])
def test_distances_have_the_lines_that_transformers_gives_them(buckets):
    module = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    window, farthest = 192, 512
    found = distance_index(window, buckets=buckets, farthest=farthest)
    layer = torch.zeros(1, window, 1)
    theirs = module.build_relative_position(layer, layer, bucket_size=buckets, max_position=farthest)[0]
    span = buckets if buckets > 0 else farthest
    wanted = (theirs + span).clamp(0, 2 * span - 1)
    place = torch.arange(window)
    assert torch.equal(found[place[:, None] - place[None] + window], wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heads", [2, 6])
def test_the_kernels_equal_the_definition_forward_and_in_gradients(dtype, heads):
    tensors, starts, window = inputs("cuda", dtype, heads)
    attend = choose_disentangled_attention(dtype, torch.device("cuda", 0), heads=heads, size=SIZE)
    assert attend is not reference_attention
    compare(attend, tensors, starts, window, 0.02)


@pytest.mark.gpu
def test_the_kernels_take_projections_of_any_layout():
    tensors, starts, window = inputs("cuda", torch.bfloat16)
    attend = choose_disentangled_attention(torch.bfloat16, starts.device, heads=2, size=SIZE)
    seed = torch.zeros(1, dtype=torch.int64, device="cuda")
    with torch.no_grad():
        plain = stacked(tensors)
        strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in plain]
        assert not any(tensor.is_contiguous() for tensor in strided)
        found = [attend(*both, starts, seed, window, SCALE, 0.0) for both in (plain, strided)]
    assert torch.equal(*found)


@pytest.mark.gpu
def test_dropout_in_the_kernels_is_repeatable_unbiased_and_the_same_in_the_backward_pass():
    tensors, starts, window = inputs("cuda", torch.bfloat16)
    attend = choose_disentangled_attention(torch.bfloat16, starts.device, heads=2, size=SIZE)
    at = lambda seed: (starts, torch.tensor([seed], device="cuda"), window, SCALE, 0.25)  # noqa: E731
    run = lambda seed: attend(*stacked(tensors), *at(seed))  # noqa: E731
    assert torch.equal(run(5), run(5)) and not torch.equal(run(5), run(6))
    with torch.no_grad():
        value = tensors[2].clone()
        tensors[2] = torch.ones_like(value)
        mean = torch.stack([run(seed).float() for seed in range(64)]).mean(0)
        assert abs(mean.mean().item() - 1) < 0.005
    # The output is linear in the values, so their gradient tells exactly what was kept: sum(grad * value) = sum(out).
    tensors[2] = value.requires_grad_()
    out = run(7)
    out.float().sum().backward()
    found = (value.grad.float() * value.float()).sum().item()
    assert abs(found - out.float().sum().item()) < 0.01 * out.float().abs().sum().item()

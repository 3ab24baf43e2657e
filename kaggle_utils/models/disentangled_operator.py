"""The disentangled-attention kernels as operators that autograd and the compiler know.

It promises what ``disentangled_attention.reference_attention`` gives, up to rounding, on devices where
:func:`kernels_work` says so. It knows tensors only, no models.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["BLOCK", "attention_operator", "kernels_fit", "kernels_work"]

_logger = logging.getLogger(__name__)

BLOCK = 64
"""Queries and keys of a tile; windows are multiples of it."""

_NAME = "kaggle_utils::disentangled"
_INNER = 32  # queries of a tile in the values' gradients: smaller tiles leave registers for more programs
_PARTS = 4  # programs that share a block of the tables' gradients; more cost more atomics than they gain
# (warps, stages) by kernel, the fastest of those tried on an H100; older cards have less shared memory.
_HOPPER = {"bias": (8, 3), "attend": (4, 2), "values": (4, 1), "vectors": (4, 3), "tables": (8, 2)}
_OLDER = {"bias": (8, 1), "attend": (4, 1), "values": (4, 1), "vectors": (4, 1), "tables": (4, 1)}


def kernels_fit(dtype: torch.dtype, device: torch.device, *, heads: int, size: int) -> bool:
    """Whether the kernels take this: 16-bit numbers, an even number of heads of size 16 to 128, a GPU from Ampere on.

    For older ones (T4) Triton compiles products to single multiplications, not to the tensor cores.
    """
    torch = require("torch", extra="llm")
    fits = dtype in (torch.float16, torch.bfloat16) and heads % 2 == 0 and size in (16, 32, 64, 128)
    return fits and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@functools.lru_cache(maxsize=1)
def attention_operator() -> Any:
    """The operator, registered with torch on first use.

    Its arguments: queries, keys and values in one [T, 3, H, D]; the position tables of queries and keys in one
    [2 window, 2, H, D], the distance d at index d + window; ``starts`` int32 [rows + 1]; ``seed`` int64 [1] on the
    device, read only with dropout; the window, a multiple of :data:`BLOCK` and at least the longest row; the scale of
    the scores; the share of them that is dropped. It returns the output [T, H, D] and, for the backward pass, log2-sums
    float32 [H, T] and the position terms [H, T, window]. Memory and time grow with T x window.
    """
    torch = require("torch", extra="llm")
    # The compiler sees through this kind of operator and launches the kernels itself, with less Python between them.
    tensors = dict.fromkeys(("projected", "tables", "starts", "seed"), torch.Tensor)
    shared = {**tensors, "window": int, "scale": float, "dropout": float}
    more = dict.fromkeys(("delta", "sums", "bias", "d_out"), torch.Tensor)
    _forward.__annotations__ = {**shared, "return": tuple[(torch.Tensor,) * 3]}
    _backward.__annotations__ = {**shared, **more, "return": tuple[(torch.Tensor,) * 2]}
    operator = torch.library.triton_op(_NAME, _forward, mutates_args=())
    backward = torch.library.triton_op(f"{_NAME}_backward", _backward, mutates_args=())

    def setup_context(ctx, inputs, output):
        *tensors, ctx.window, ctx.scale, ctx.dropout = inputs
        ctx.save_for_backward(*tensors, *output)

    def differentiate(ctx, d_out, *_):
        *tensors, out, sums, bias = ctx.saved_tensors
        delta = (d_out.float() * out.float()).sum(-1)  # here and not in the operator: the compiler fuses it
        gradient, d_tables = backward(*tensors, ctx.window, ctx.scale, ctx.dropout, delta, sums, bias, d_out)
        return gradient, d_tables.to(tensors[1].dtype), None, None, None, None, None

    operator.register_autograd(differentiate, setup_context=setup_context)
    return operator


def _forward(projected, tables, starts, seed, window, scale, dropout):
    torch = require("torch", extra="llm")
    from kaggle_utils.models import disentangled_forward_triton as kernels

    launch = torch.library.wrap_triton
    projected, tables = projected.contiguous(), tables.contiguous()
    total, _, heads, size = projected.shape
    rows = len(starts) - 1
    out = torch.empty(total, heads, size, device=projected.device, dtype=projected.dtype)
    sums = torch.empty(heads, total, device=projected.device, dtype=torch.float32)
    bias = torch.empty(heads, total, window, device=projected.device, dtype=projected.dtype)
    sizes, blocks = {"HEADS": heads, "SIZE": size, "BLOCK": BLOCK}, window // BLOCK
    with torch.cuda.device(projected.device):
        launch(kernels.position_bias)[(blocks, heads // 2, rows)](
            projected, tables, bias, starts, total, blocks, **sizes, **_tiles("bias")
        )
        launch(kernels.attend)[(blocks, heads, rows)](
            projected, bias, out, sums, starts, seed, total, blocks, scale, *_dropped(dropout), **sizes,
            DROPS=dropout > 0, **_tiles("attend"),
        )  # fmt: skip
    return out, sums, bias


def _backward(projected, tables, starts, seed, window, scale, dropout, delta, sums, bias, d_out):
    torch = require("torch", extra="llm")
    from kaggle_utils.models import disentangled_backward_triton as kernels

    launch = torch.library.wrap_triton
    projected, tables = projected.contiguous(), tables.contiguous()
    rows, (heads, total) = len(starts) - 1, sums.shape
    scores = torch.empty(2, *bias.shape, device=bias.device, dtype=bias.dtype)  # by query and key, by key and query
    gradient = torch.empty_like(projected)
    d_tables = torch.zeros(tables.shape, device=tables.device)
    sizes = {"HEADS": heads, "SIZE": projected.shape[-1], "BLOCK": BLOCK}
    blocks, each = window // BLOCK, -(-rows // _PARTS)
    place = starts, total, blocks, scale
    with torch.cuda.device(projected.device):
        launch(kernels.value_gradients)[(blocks, heads, rows)](
            projected, bias, d_out.contiguous(), sums, delta.contiguous(), scores, gradient, starts, seed, total,
            blocks, scale, *_dropped(dropout), **sizes, DROPS=dropout > 0, INNER=_INNER, **_tiles("values"),
        )  # fmt: skip
        launch(kernels.vector_gradients)[(blocks, heads, 2 * rows)](
            projected, tables, scores, gradient, *place, **sizes, **_tiles("vectors")
        )
        launch(kernels.table_gradients)[(2 * blocks, heads, 2 * -(-rows // each))](
            projected, scores, d_tables, *place, rows, each, **sizes, **_tiles("tables")
        )
    return gradient, d_tables


def _dropped(dropout: float) -> tuple[int, float]:
    """The hash below which a score is dropped, and what the others grow by."""
    return min(int(dropout * 2**32), 2**32 - 1), 1.0 / (1.0 - dropout)


@functools.lru_cache(maxsize=None)  # noqa: UP033 (a handful of kernels)
def _tiles(kernel: str) -> dict[str, int]:
    capability = require("torch", extra="llm").cuda.get_device_capability()
    warps, stages = (_HOPPER if capability >= (9, 0) else _OLDER)[kernel]
    return {"num_warps": warps, "num_stages": stages}


@functools.lru_cache(maxsize=None)  # noqa: UP033 (a handful of devices and dtypes)
def kernels_work(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Run the kernels once on rows of all kinds and compare; where they do not suit, the log tells why.

    Args:
        device: where the model lies.
        dtype: float16 or bfloat16.
        size: numbers of a head.
    """
    torch = require("torch", extra="llm")
    if device.type != "cuda":
        return False
    try:
        with torch.enable_grad(), torch.random.fork_rng([device]):
            error = _probe(torch, device, dtype, size)
        if not error < 0.03:  # NaN is not
            raise RuntimeError(f"off by {error:.3g} of the largest number")
    except Exception as failure:  # no Triton, no compiler, too little shared memory: slower, never wrong
        reason = " ".join(str(failure).strip().splitlines()[:1])
        _logger.warning(
            "disentangled attention stays eager on %s: %s: %s", device, type(failure).__name__, reason[:200]
        )
        return False
    return True


def _probe(torch: Any, device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Largest error of the output and of all gradients, as a share of their largest number."""
    from kaggle_utils.models.disentangled_attention import reference_attention

    lengths, window = (130, 64, 1, 0, 100), 192
    starts = torch.tensor([0, *lengths], device=device).cumsum(0).int()
    shapes = (sum(lengths), 3, 2, size), (2 * window, 2, 2, size)
    inputs = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]
    weights = torch.randn(sum(lengths), 2, size, device=device)
    seed, scale = torch.zeros(1, device=device, dtype=torch.int64), (3 * size) ** -0.5
    found, _, _ = attention_operator()(*inputs, starts, seed, window, scale, 0.0)
    exact = [tensor.detach().float().requires_grad_() for tensor in inputs]
    wanted = reference_attention(*exact, starts, seed, window, scale, 0.0)
    pairs = [(found, wanted)]
    for output, tensors in ((found, inputs), (wanted, exact)):
        (output.float() * weights).sum().backward()
        pairs.append(tuple(tensors))
    pairs = [pairs[0], *((a.grad, b.grad) for a, b in zip(*pairs[1:], strict=True))]
    return max(((a.float() - b).abs().max() / b.abs().max()).item() for a, b in pairs)

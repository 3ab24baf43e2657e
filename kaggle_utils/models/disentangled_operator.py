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
_SHARED = (
    "Tensor projected, Tensor key_table, Tensor query_table, Tensor starts, Tensor seed, "
    "SymInt window, float scale, float dropout"
)
_INNER = 32  # queries of a tile in the values' gradients: smaller tiles leave registers for more programs
_PARTS = 4  # programs that share a block of the tables' gradients; more cost more atomics than they gain
# (warps, stages) by kernel, the fastest of those tried on an H100; older cards have less shared memory.
_HOPPER = {"bias": (8, 3), "attend": (4, 3), "values": (4, 1), "keys": (4, 2), "queries": (4, 3), "tables": (4, 4)}
_OLDER = {"bias": (8, 1), "attend": (4, 1), "values": (4, 1), "keys": (4, 1), "queries": (4, 1), "tables": (4, 1)}


def kernels_fit(dtype: torch.dtype, device: torch.device, *, heads: int, size: int) -> bool:
    """Whether the kernels take this: 16-bit numbers on a GPU, an even number of heads of 16 to 128 numbers."""
    torch = require("torch", extra="llm")
    fits = dtype in (torch.float16, torch.bfloat16) and heads % 2 == 0 and size in (16, 32, 64, 128)
    return device.type == "cuda" and fits


@functools.lru_cache(maxsize=1)
def attention_operator() -> Any:
    """The operator, registered with torch on first use.

    Its arguments: queries, keys and values in one [T, 3, H, D]; both position tables [2 window, H, D], the distance d
    at index d + window; ``starts`` int32 [rows + 1]; ``seed`` int64 [1] on the device, read only with dropout; the
    window, a multiple of :data:`BLOCK` and at least the longest row; the scale of the scores; the share of them that is
    dropped. It returns the output [T, H, D] and, for the backward pass, log2-sums float32 [H, T] and the position terms
    [H, T, window]. Memory and time grow with T x window.
    """
    torch = require("torch", extra="llm")
    # Plain registrations: torch.library.custom_op costs a third of a millisecond a call, two calls a layer and step.
    more = ", Tensor delta, Tensor sums, Tensor bias, Tensor d_out"
    for name, function, arguments in ((_NAME, _forward, _SHARED), (f"{_NAME}_backward", _backward, _SHARED + more)):
        torch.library.define(name, f"({arguments}) -> (Tensor, Tensor, Tensor)")
        torch.library.impl(name, "default", function)
    operator = torch.ops.kaggle_utils.disentangled.default
    backward = torch.ops.kaggle_utils.disentangled_backward.default

    @torch.library.register_fake(_NAME)
    def _(projected, key_table, query_table, starts, seed, window, scale, dropout):
        total, _, heads, size = projected.shape
        sums = projected.new_empty((heads, total), dtype=torch.float32)
        return projected.new_empty((total, heads, size)), sums, projected.new_empty((heads, total, window))

    @torch.library.register_fake(f"{_NAME}_backward")
    def _(projected, key_table, query_table, *rest):
        tables = [table.new_empty(table.shape, dtype=torch.float32) for table in (key_table, query_table)]
        return projected.new_empty(projected.shape), *tables

    def setup_context(ctx, inputs, output):
        *tensors, ctx.window, ctx.scale, ctx.dropout = inputs
        ctx.save_for_backward(*tensors, *output)

    def differentiate(ctx, d_out, *_):
        *tensors, out, sums, bias = ctx.saved_tensors
        delta = (d_out.float() * out.float()).sum(-1).t()  # here and not in the operator: the compiler fuses it
        settings = (ctx.window, ctx.scale, ctx.dropout)
        gradient, d_keys, d_queries = backward(*tensors, *settings, delta, sums, bias, d_out)
        tables = d_keys.to(tensors[1].dtype), d_queries.to(tensors[2].dtype)
        return gradient, *tables, None, None, None, None, None

    torch.library.register_autograd(_NAME, differentiate, setup_context=setup_context)
    return operator


def _forward(projected, key_table, query_table, starts, seed, window, scale, dropout):
    torch = require("torch", extra="llm")
    from kaggle_utils.models import disentangled_forward_triton as kernels

    query, key, value = projected.contiguous().unbind(1)
    total, heads, size = query.shape
    rows = len(starts) - 1
    out = torch.empty(total, heads, size, device=query.device, dtype=query.dtype)
    sums = torch.empty(heads, total, device=query.device, dtype=torch.float32)
    bias = torch.empty(heads, total, window, device=query.device, dtype=query.dtype)
    sizes = {"HEADS": heads, "SIZE": size, "BLOCK": BLOCK}
    tables = key_table.contiguous(), query_table.contiguous()
    with torch.cuda.device(query.device):
        kernels.position_bias[(window // BLOCK, heads // 2, rows)](
            query, key, *tables, bias, starts, query.stride(0), total, window, **sizes, **_tiles("bias")
        )
        kernels.attend[(window // BLOCK, heads, rows)](
            query, key, value, bias, out, sums, starts, seed, query.stride(0), total, window, scale, *_dropped(dropout),
            **sizes, DROPS=dropout > 0, **_tiles("attend"),
        )  # fmt: skip
    return out, sums, bias


def _backward(projected, key_table, query_table, starts, seed, window, scale, dropout, delta, sums, bias, d_out):
    torch = require("torch", extra="llm")
    from kaggle_utils.models import disentangled_backward_triton as kernels

    query, key, value = projected.contiguous().unbind(1)
    total, heads, size = query.shape
    rows = len(starts) - 1
    by_query, by_key = torch.empty_like(bias), torch.empty_like(bias)
    gradient = torch.empty(projected.shape, device=query.device, dtype=query.dtype)
    d_query, d_key, d_value = gradient.unbind(1)
    d_tables = [torch.zeros(table.shape, device=table.device) for table in (key_table, query_table)]
    sizes = {"HEADS": heads, "SIZE": size, "BLOCK": BLOCK}
    grid, place = (window // BLOCK, heads, rows), (starts, query.stride(0), total, window, scale)
    with torch.cuda.device(query.device):
        kernels.value_gradients[grid](
            query, key, value, bias, d_out.contiguous(), sums, delta.contiguous(), by_query, d_value, starts, seed,
            query.stride(0), total, window, scale, *_dropped(dropout), **sizes, DROPS=dropout > 0, INNER=_INNER,
            **_tiles("values"),
        )  # fmt: skip
        # keys before queries: the latter turn the scores' gradients in place
        for others, table, turned, found, of_keys in (
            (query, query_table, by_key, d_key, True), (key, key_table, by_query, d_query, False),
        ):  # fmt: skip
            kernels.vector_gradients[grid](
                others, table.contiguous(), by_query, turned, found, *place, **sizes, OF_KEYS=of_keys,
                **_tiles("keys" if of_keys else "queries"),
            )  # fmt: skip
        each = -(-rows // _PARTS)
        blocks = (2 * window // BLOCK, heads, -(-rows // each))
        for vectors, turned, table, of_keys in (
            (query, by_query, d_tables[0], False), (key, by_key, d_tables[1], True),
        ):  # fmt: skip
            kernels.table_gradients[blocks](
                vectors, turned, table, *place, rows, each, **sizes, OF_KEYS=of_keys, **_tiles("tables")
            )
    return gradient, *d_tables


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
    shapes = [(sum(lengths), 3, 2, size)] + [(2 * window, 2, size)] * 2
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

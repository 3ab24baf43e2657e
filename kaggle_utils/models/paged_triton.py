"""Triton kernels for one decoding step over a paged key/value cache.

They promise, for one new token a row, ordinary attention over the row's own pages (soft-cap and sliding window
included, softmax in float32), reading each key and value of the row once and nothing of other rows. They need Triton
and a CUDA device; whether they give the right numbers on the card at hand is probed before use
(``paged_attention.py``). Flash-decoding (Dao et al. 2023): a row's pages are shared out among several programs, whose
sums a second kernel joins.
"""

# ruff: noqa: N803 (Triton writes constants in capitals)

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

__all__ = ["attend_pages", "store_token"]


@triton.jit
def _store(keys, values, pool_k, pool_v, table, lengths, width, key_row, key_head, value_row, value_head,
           HEADS: tl.constexpr, PAGE: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    at = tl.load(lengths + row) - 1
    page = tl.load(table + row * width + at // PAGE).to(tl.int64)
    column = tl.arange(0, WIDE)
    inside = column < SIZE
    target = ((page * HEADS + head) * PAGE + at % PAGE) * SIZE + column
    tl.store(pool_k + target, tl.load(keys + row * key_row + head * key_head + column, mask=inside), mask=inside)
    tl.store(pool_v + target, tl.load(values + row * value_row + head * value_head + column, mask=inside), mask=inside)


@triton.jit
def _attend(query, pool_k, pool_v, table, lengths, sums, stats, width, query_row, query_head, scale, cap, window,
            HEADS: tl.constexpr, GROUP: tl.constexpr, GROUPED: tl.constexpr, PAGE: tl.constexpr, SIZE: tl.constexpr,
            WIDE: tl.constexpr, TILE: tl.constexpr, SPLITS: tl.constexpr, CAPPED: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    split = tl.program_id(2)
    length = tl.load(lengths + row)
    first = tl.maximum(length - window, 0)
    begin = first // TILE
    end = (length + TILE - 1) // TILE
    share = (end - begin + SPLITS - 1) // SPLITS
    low = begin + split * share
    high = tl.minimum(low + share, end)

    group = tl.arange(0, GROUPED)
    column = tl.arange(0, WIDE)
    place = tl.arange(0, TILE)
    wanted = (group < GROUP)[:, None] & (column < SIZE)[None, :]
    asked = tl.load(
        query + row * query_row + (head * GROUP + group)[:, None] * query_head + column[None, :], mask=wanted, other=0.0
    )
    top = tl.full([GROUPED], -1e30, tl.float32)
    total = tl.zeros([GROUPED], tl.float32)
    mixed = tl.zeros([GROUPED, WIDE], tl.float32)
    for tile in range(low, high):
        at = tile * TILE + place
        page = tl.load(table + row * width + tile * TILE // PAGE).to(tl.int64)
        base = ((page * HEADS + head) * PAGE + tile * TILE % PAGE) * SIZE
        inside = (at < length)[:, None] & (column < SIZE)[None, :]
        offsets = base + place[:, None] * SIZE + column[None, :]
        key = tl.load(pool_k + offsets, mask=inside, other=0.0)
        score = tl.dot(asked, tl.trans(key), input_precision="ieee") * scale
        if CAPPED:
            score = cap - 2 * cap / (tl.exp(score * (2 / cap)) + 1)
        score = tl.where(((at < length) & (at >= first))[None, :], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, axis=1))
        weight = tl.exp(score - higher[:, None])
        fade = tl.exp(top - higher)
        value = tl.load(pool_v + offsets, mask=inside, other=0.0)
        total = total * fade + tl.sum(weight, axis=1)
        mixed = mixed * fade[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        top = higher

    part = ((row * HEADS + head) * GROUP + group) * SPLITS + split
    tl.store(sums + part[:, None] * SIZE + column[None, :], mixed, mask=wanted)
    tl.store(stats + part * 2, top, mask=group < GROUP)
    tl.store(stats + part * 2 + 1, total, mask=group < GROUP)


@triton.jit
def _join(sums, stats, out, SIZE: tl.constexpr, WIDE: tl.constexpr, SPLITS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    column = tl.arange(0, WIDE)
    inside = column < SIZE
    tops = tl.load(stats + (row * SPLITS + split) * 2)
    totals = tl.load(stats + (row * SPLITS + split) * 2 + 1)
    fades = tl.exp(tops - tl.max(tops, axis=0))
    parts = tl.load(
        sums + (row * SPLITS + split)[:, None] * SIZE + column[None, :],
        mask=(split < SPLITS)[:, None] & inside[None, :], other=0.0,
    )  # fmt: skip
    joined = tl.sum(parts * fades[:, None], axis=0) / tl.sum(totals * fades, axis=0)
    tl.store(out + row * SIZE + column, joined.to(out.dtype.element_ty), mask=inside)


def store_token(keys, values, pool_k, pool_v, table, lengths) -> None:
    """Write each row's newest key and value [rows, heads, 1, D] to where position ``lengths - 1`` lies.

    Pools are [pages, heads, page, D]; ``table`` int32 [rows, width] names each row's pages; ``lengths`` int32 [rows].
    """
    rows, heads, _, size = keys.shape
    with _on(keys.device):
        _store[(rows, heads)](
            keys, values, pool_k, pool_v, table, lengths, table.stride(0),
            keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
            HEADS=heads, PAGE=pool_k.shape[2], SIZE=size, WIDE=triton.next_power_of_2(size), num_warps=2,
        )  # fmt: skip


def attend_pages(query, pool_k, pool_v, table, lengths, *, scale: float, cap: float, window: int) -> torch.Tensor:
    """Attend from one token a row, query [rows, H, 1, D], to its pages; returns [rows, 1, H, D] in query's dtype.

    ``cap`` 0 and ``window`` 0 mean none. Reads 2 x length x heads x D numbers a row, once.
    """
    rows, asking, _, size = query.shape
    heads, page = pool_k.shape[1:3]
    group, wide = asking // heads, max(16, triton.next_power_of_2(size))
    splits = _splits(rows * heads)
    tile = min(page, 32 if wide >= 256 or query.dtype == torch.float32 else 64)
    sums = torch.empty(rows * asking * splits * size, dtype=torch.float32, device=query.device)
    stats = torch.empty(rows * asking * splits * 2, dtype=torch.float32, device=query.device)
    out = torch.empty(rows, 1, asking, size, dtype=query.dtype, device=query.device)
    with _on(query.device):
        _attend[(rows, heads, splits)](
            query, pool_k, pool_v, table, lengths, sums, stats, table.stride(0), query.stride(0), query.stride(1),
            float(scale), float(cap or 1.0), int(window or 1 << 30),
            HEADS=heads, GROUP=group, GROUPED=max(16, triton.next_power_of_2(group)), PAGE=page, SIZE=size, WIDE=wide,
            TILE=tile, SPLITS=splits, CAPPED=bool(cap), num_warps=4, num_stages=_stages(query),
        )  # fmt: skip
        _join[(rows * asking,)](sums, stats, out, SIZE=size, WIDE=wide, SPLITS=splits, num_warps=2)
    return out


def _splits(programs: int) -> int:
    """Programs a row and head: enough of them to fill a card of 132 processors several times, at most 16."""
    splits = 1
    while splits < 16 and programs * splits < 1536:
        splits *= 2
    return splits


def _stages(query: torch.Tensor) -> int:
    """Tiles in flight: three where a processor has 160 KiB of shared memory, two on smaller cards."""
    if query.device.type != "cuda":
        return 2
    return 3 if torch.cuda.get_device_capability(query.device) in ((8, 0), (9, 0), (10, 0)) else 2


def _on(device: torch.device):
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()

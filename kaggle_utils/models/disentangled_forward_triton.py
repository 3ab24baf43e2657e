"""Triton kernels of disentangled attention, forward: the position terms, then attention with them as a bias.

Rows lie one after another; row r has the tokens ``starts[r]`` to ``starts[r + 1]``, each with its query, key and value
in one line. The tables hold the projected position of every distance d = query - key at index d + longest, for queries
and for keys in one line, so that a tile of 64 queries and 64 keys needs 128 neighbouring lines of them: two blocks of
64. A product with those is indexed by distance; what each (query, key) needs lies in it along diagonals. Of two
neighbouring blocks every distance modulo 64 is used once, so the two are first merged and then turned by one gather
within 64 numbers. Two heads are turned together, as the halves of an int32.

The window comes in blocks: else a compiled graph that launches these does not know that it is a multiple of 16, and
single numbers are loaded. Such a graph hands numbers over in 64 bits, so they are cast first.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["attend", "keep_score", "place_hash", "position_bias"]

_LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _pair(first, second):
    """Two float32 tiles, rounded to bfloat16, as one int32 tile."""
    high = first.to(tl.int32, bitcast=True) + 0x8000
    low = second.to(tl.int32, bitcast=True) + 0x8000
    return (high & -65536) | ((low >> 16) & 0xFFFF)


@triton.jit
def _first(pair):
    return (pair & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _second(pair):
    return (pair << 16).to(tl.float32, bitcast=True)


@triton.jit
def _mixed(x):
    """Murmur's finaliser."""
    x ^= x >> 16
    x *= 0x85EBCA6B
    x ^= x >> 13
    x *= 0xC2B2AE35
    return x ^ (x >> 16)


@triton.jit
def keep_score(queries, keys, least):
    """Whether dropout keeps a score: a hash of its two :func:`place_hash`, broadcast; far cheaper here than Philox.

    Those are mixed already, once a line; six operations a score are left, which is what the kernels' time hangs on.
    """
    x = (queries ^ keys) * 0x9E3779B1
    x = (x ^ (x >> 15)) * 0x85EBCA6B
    return x >= least


@triton.jit
def place_hash(seed, place):
    """32 mixed bits for each place."""
    return _mixed(_mixed(place.to(tl.uint32) * 0x9E3779B1 + seed) + seed)


@triton.jit(do_not_specialize=["total"])
def position_bias(
    projected, tables, biases, starts, total, blocks,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
):  # fmt: skip
    """content-to-position plus position-to-content scores, [HEADS, total, longest] by query and key.

    Of keys past a row's end, up to the next multiple of BLOCK, there stands something finite.
    """
    total, longest = tl.cast(total, tl.int32), tl.cast(blocks, tl.int32) * BLOCK
    block, head, row = tl.program_id(0), tl.program_id(1) * 2, tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if block * BLOCK >= length:
        return
    i = tl.arange(0, BLOCK)
    query = block * BLOCK + i
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    inside = query[:, None] < length
    width: tl.constexpr = HEADS * SIZE
    stride: tl.constexpr = 3 * width
    at = (start + query)[:, None] * stride + column
    q0 = tl.load(projected + at, mask=inside, other=0.0)
    q1 = tl.load(projected + at + SIZE, mask=inside, other=0.0)
    keys, table_queries, table_keys = projected + width, tables, tables + width
    above = (block * BLOCK + longest + i)[:, None] * (2 * width) + column
    above0 = tl.dot(q0, tl.trans(tl.load(table_keys + above)))
    above1 = tl.dot(q1, tl.trans(tl.load(table_keys + above + SIZE)))
    index = (i[:, None] - i[None, :]) & (BLOCK - 1)
    not_after = i[None, :] <= i[:, None]
    upper = i[:, None] + i[None, :] < BLOCK
    out = biases + (head * total + start + query)[:, None].to(tl.int64) * longest + i[None, :]
    for n in range(tl.cdiv(length, BLOCK)):
        key = n * BLOCK + i
        there = key[:, None] < length
        at = (start + key)[:, None] * stride + column
        k0 = tl.trans(tl.load(keys + at, mask=there, other=0.0))
        k1 = tl.trans(tl.load(keys + at + SIZE, mask=there, other=0.0))
        above = ((block - n) * BLOCK + longest + i)[:, None] * (2 * width) + column
        below = above - BLOCK * 2 * width
        below0 = tl.dot(q0, tl.trans(tl.load(table_keys + below)))
        below1 = tl.dot(q1, tl.trans(tl.load(table_keys + below + SIZE)))
        merged = _pair(tl.where(not_after, above0, below0), tl.where(not_after, above1, below1))
        to_position = tl.gather(merged, index, 1)
        above0, above1 = below0, below1  # the smaller distances of this tile are the larger ones of the next
        p0 = tl.where(upper, tl.dot(tl.load(table_queries + above), k0), tl.dot(tl.load(table_queries + below), k0))
        above, below = above + SIZE, below + SIZE
        p1 = tl.where(upper, tl.dot(tl.load(table_queries + above), k1), tl.dot(tl.load(table_queries + below), k1))
        to_content = tl.gather(_pair(p0, p1), index, 0)
        first, second = _first(to_position) + _first(to_content), _second(to_position) + _second(to_content)
        tl.store(out + n * BLOCK, first.to(biases.dtype.element_ty), mask=inside)
        place = out + n * BLOCK + total.to(tl.int64) * longest
        tl.store(place, second.to(biases.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["total"])
def attend(
    projected, biases, outputs, sums, starts, seeds, total, blocks, scale, threshold, growth,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    DROPS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Softmax over the keys of a row, block by block, with the biases; ``sums`` gets log2 of its denominators."""
    total, longest = tl.cast(total, tl.int32), tl.cast(blocks, tl.int32) * BLOCK
    scale, growth = tl.cast(scale, tl.float32), tl.cast(growth, tl.float32)
    block, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if block * BLOCK >= length:
        return
    i = tl.arange(0, BLOCK)
    query = block * BLOCK + i
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    inside = query[:, None] < length
    width: tl.constexpr = HEADS * SIZE
    stride: tl.constexpr = 3 * width
    q = tl.load(projected + (start + query)[:, None] * stride + column, mask=inside, other=0.0)
    bias_row = biases + (head * total + start + query)[:, None].to(tl.int64) * longest
    if DROPS:
        seed, least = tl.load(seeds).to(tl.uint32), tl.cast(threshold, tl.uint32)
        query_hash = place_hash(seed, (start + query) * HEADS + head)[:, None]
    highest = tl.full([BLOCK], -1.0e30, tl.float32)
    weight = tl.zeros([BLOCK], tl.float32)
    out = tl.zeros([BLOCK, SIZE], tl.float32)
    for n in range(0, length, BLOCK):
        key = n + i
        there = key[:, None] < length
        at = (start + key)[:, None] * stride + column
        k = tl.load(projected + width + at, mask=there, other=0.0)
        bias = tl.load(bias_row + key[None, :], mask=inside, other=0.0)  # a mask by key would split it into numbers
        s = (tl.dot(q, tl.trans(k)) + bias) * (scale * _LOG2E)
        s = tl.where(key[None, :] < length, s, -1.0e30)
        top = tl.maximum(highest, tl.max(s, 1))
        p = tl.exp2(s - top[:, None])
        shrink = tl.exp2(highest - top)
        weight = weight * shrink + tl.sum(p, 1)
        if DROPS:
            kept = keep_score(query_hash, place_hash(seed + 1, key)[None, :], least)
            p = tl.where(kept, p, 0.0)
        v = tl.load(projected + 2 * width + at, mask=there, other=0.0)
        out = tl.dot(p.to(v.dtype), v, out * shrink[:, None])
        highest = top
    out = out * (growth / weight)[:, None]
    at = (start + query)[:, None] * width + column
    tl.store(outputs + at, out.to(outputs.dtype.element_ty), mask=inside)
    tl.store(sums + head * total + start + query, highest + tl.log2(weight), mask=query < length)

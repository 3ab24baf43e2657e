"""Triton kernels of disentangled attention, backward, without atomics on anything that is as long as the text.

Four passes: by blocks of keys (gradients of the values; those of the scores are kept by query and key), by blocks of
keys again and by blocks of queries (their gradients; each keeps the scores' gradients by itself and distance, the
queries in place), and by blocks of lines (gradients of the position tables). One pass over keys for all of it would
need more registers than a thread has. Layouts and the turning are explained in the forward module.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kaggle_utils.models.disentangled_forward_triton import keep_score, place_hash

__all__ = ["table_gradients", "value_gradients", "vector_gradients"]

_LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["total"])
def value_gradients(
    queries, keys, values, biases, d_out, sums, delta, by_query, d_values, starts, seeds,
    stride, total, longest, scale, threshold, growth,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    DROPS: tl.constexpr, INNER: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A block of keys a program, tiles of INNER queries; ``delta`` is the sum of output times its gradient."""
    n, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if n * BLOCK >= length:
        return
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    key = n * BLOCK + tl.arange(0, BLOCK)
    there = key[:, None] < length
    k = tl.load(keys + (start + key)[:, None] * stride + column, mask=there, other=0.0)
    v = tl.load(values + (start + key)[:, None] * stride + column, mask=there, other=0.0)
    if DROPS:
        seed, least = tl.load(seeds).to(tl.uint32), threshold.to(tl.uint32)
        key_hash = place_hash(seed + 1, key)[:, None]
    dv = tl.zeros([BLOCK, SIZE], tl.float32)
    base = (head * total + start).to(tl.int64) * longest
    for first in range(0, length, INNER):
        query = first + tl.arange(0, INNER)
        inside = query < length
        q = tl.load(queries + (start + query)[:, None] * stride + column, mask=inside[:, None], other=0.0)
        d_o = tl.load(d_out + (start + query)[:, None] * (HEADS * SIZE) + column, mask=inside[:, None], other=0.0)
        at = head * total + start + query
        log_sum = tl.load(sums + at, mask=inside, other=1.0e30)  # queries past the end then weigh nothing
        shift = tl.load(delta + at, mask=inside, other=0.0)
        place = base + query[None, :] * longest + key[:, None]
        bias = tl.load(biases + place, mask=inside[None, :] & there, other=0.0)
        s = (tl.dot(k, tl.trans(q)) + bias) * (scale * _LOG2E)
        p = tl.exp2(s - log_sum[None, :])  # of keys past the end nothing is stored
        dp = tl.dot(v, tl.trans(d_o))
        if DROPS:
            kept = keep_score(place_hash(seed, (start + query) * HEADS + head)[None, :], key_hash, least)
            dv = tl.dot(tl.where(kept, p, 0.0).to(d_o.dtype), d_o, dv)
            ds = p * (tl.where(kept, dp, 0.0) * growth - shift[None, :])
        else:
            dv = tl.dot(p.to(d_o.dtype), d_o, dv)
            ds = p * (dp - shift[None, :])
        tl.store(by_query + place, ds.to(q.dtype), mask=inside[None, :] & there)
    dv *= growth
    tl.store(d_values + (start + key)[:, None] * stride + column, dv.to(d_values.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["total"])
def vector_gradients(
    others, table, by_query, turned_scores, gradients, starts, stride, total, longest, scale,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    OF_KEYS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Gradients of the queries, or with OF_KEYS of the keys; ``others`` are the vectors of the other side.

    A block of them a program; the scores' gradients lack the scale until here. ``turned_scores`` gets, in each tile,
    query (or key) and distance modulo BLOCK; for queries it may be ``by_query`` itself.
    """
    block, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if block * BLOCK >= length:
        return
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    own = block * BLOCK + i
    inside = own[:, None] < length
    base = (head * total + start).to(tl.int64) * longest
    # A tile's distances lie in two blocks of lines, and each block serves two neighbouring tiles: one product for both.
    if OF_KEYS:
        index = (i[:, None] + i[None, :]) & (BLOCK - 1)
        of_tile = i[:, None] + i[None, :] >= BLOCK
        step: tl.constexpr = HEADS * SIZE * BLOCK
        lines = table + (longest + i)[:, None] * (HEADS * SIZE) + column - (block + 1) * step
    else:
        index = (i[:, None] - i[None, :]) & (BLOCK - 1)
        of_tile = i[None, :] <= i[:, None]
        step: tl.constexpr = -HEADS * SIZE * BLOCK
        lines = table + (longest + i)[:, None] * (HEADS * SIZE) + column - block * step
    gradient = tl.zeros([BLOCK, SIZE], tl.float32)
    before = tl.zeros([BLOCK, BLOCK], by_query.dtype.element_ty)
    for n in range(tl.cdiv(length, BLOCK)):
        other = n * BLOCK + i
        if OF_KEYS:
            place = base + other[None, :] * longest + own[:, None]
        else:
            place = base + own[:, None] * longest + other[None, :]
        ds = tl.load(by_query + place, mask=inside & (other[None, :] < length), other=0.0)
        x = tl.load(others + (start + other)[:, None] * stride + column, mask=other[:, None] < length, other=0.0)
        gradient = tl.dot(ds, x, gradient)
        turned = tl.gather(ds, index, 1)
        tl.store(turned_scores + base + own[:, None] * longest + other[None, :], turned, mask=inside)
        gradient = tl.dot(tl.where(of_tile, turned, before), tl.load(lines), gradient)
        before = turned
        lines += step
    gradient = tl.dot(tl.where(of_tile, tl.zeros_like(before), before), tl.load(lines), gradient)
    at = (start + own)[:, None] * stride + column
    tl.store(gradients + at, (gradient * scale).to(gradients.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["total", "rows", "rows_each"])
def table_gradients(
    vectors, turned, d_table, starts, stride, total, longest, scale, rows, rows_each,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    OF_KEYS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A block of lines in some rows a program, added up in float32; ``vectors`` are the queries or the keys.

    Lines serve two neighbouring diagonals of tiles; each (query, key) belongs to one of the two.
    """
    block, head, part = tl.program_id(0) - longest // BLOCK, tl.program_id(1), tl.program_id(2)
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    if OF_KEYS:
        of_nearer = i[:, None] + i[None, :] < BLOCK
        side: tl.constexpr = 1
    else:
        of_nearer = i[None, :] <= i[:, None]
        side: tl.constexpr = -1
    gradient = tl.zeros([BLOCK, SIZE], tl.float32)
    for row in range(part * rows_each, tl.minimum((part + 1) * rows_each, rows)):
        start = tl.load(starts + row)
        length = tl.load(starts + row + 1) - start
        base = turned + (head * total + start).to(tl.int64) * longest
        count = tl.cdiv(length, BLOCK)
        if OF_KEYS:
            first, last = tl.maximum(-block - 1, 0), tl.minimum(count, count - block)
        else:
            first, last = tl.maximum(block, 0), tl.minimum(count, count + block + 1)
        for m in range(first, last):
            token, nearer = m * BLOCK + i, m + side * block
            inside = token[:, None] < length
            at = base + token[:, None] * longest + nearer * BLOCK + i[None, :]
            near = tl.load(at, mask=inside & (nearer >= 0) & (nearer < count), other=0.0)
            farther = nearer + side
            far = tl.load(at + side * BLOCK, mask=inside & (farther >= 0) & (farther < count), other=0.0)
            x = tl.load(vectors + (start + token)[:, None] * stride + column, mask=inside, other=0.0)
            gradient = tl.dot(tl.trans(tl.where(of_nearer, near, far)), x, gradient)
    at = d_table + (block * BLOCK + longest + i)[:, None] * (HEADS * SIZE) + column
    tl.atomic_add(at, gradient * scale)

"""Triton kernels of disentangled attention, backward, without atomics on anything that is as long as the text.

Three passes: by blocks of keys (gradients of keys and values; the scores' gradients are kept, once by query and key and
once by key and distance), by blocks of queries (which turns the former into query and distance in place), and by
diagonals of tiles (gradients of the position tables). Layouts and the turning are explained in the forward module.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kaggle_utils.models.disentangled_forward_triton import keep_score

__all__ = ["key_gradients", "query_gradients", "table_gradients"]

_LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def key_gradients(
    queries, keys, values, table_queries, biases, d_out, sums, delta, by_query, by_key, d_keys, d_values, starts, seeds,
    stride, total, scale, threshold, growth,
    HEADS: tl.constexpr, LONGEST: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    DROPS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A block of keys a program, tiles [keys, queries]; ``delta`` is the sum of output times its gradient."""
    n, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if n * BLOCK >= length:
        return
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    width: tl.constexpr = HEADS * SIZE
    key = n * BLOCK + i
    there = key[:, None] < length
    k = tl.load(keys + (start + key)[:, None] * stride + column, mask=there, other=0.0)
    v = tl.load(values + (start + key)[:, None] * stride + column, mask=there, other=0.0)
    below = tl.load(table_queries + ((-n - 1) * BLOCK + LONGEST + i)[:, None] * width + column)
    if DROPS:
        seed = tl.load(seeds).to(tl.uint32)
    upper = i[:, None] + i[None, :] < BLOCK
    index = (i[:, None] + i[None, :]) & (BLOCK - 1)
    dk = tl.zeros([BLOCK, SIZE], tl.float32)
    dv = tl.zeros([BLOCK, SIZE], tl.float32)
    base = (head * total + start).to(tl.int64) * LONGEST
    for m in range(tl.cdiv(length, BLOCK)):
        query = m * BLOCK + i
        inside = query < length
        q = tl.load(queries + (start + query)[:, None] * stride + column, mask=inside[:, None], other=0.0)
        d_o = tl.load(d_out + (start + query)[:, None] * width + column, mask=inside[:, None], other=0.0)
        at = head * total + start + query
        log_sum = tl.load(sums + at, mask=inside, other=1.0e30)  # queries past the end then weigh nothing
        shift = tl.load(delta + at, mask=inside, other=0.0)
        place = base + query[None, :] * LONGEST + key[:, None]
        bias = tl.load(biases + place, mask=inside[None, :] & there, other=0.0)
        s = (tl.dot(k, tl.trans(q)) + bias) * (scale * _LOG2E)
        p = tl.where(there, tl.exp2(s - log_sum[None, :]), 0.0)
        dp = tl.dot(v, tl.trans(d_o))
        if DROPS:
            kept = keep_score(seed, (start + query)[None, :], head, key[:, None], threshold, HEADS, LONGEST)
            dv = tl.dot(tl.where(kept, p * growth, 0.0).to(d_o.dtype), d_o, dv)
            dp = tl.where(kept, dp * growth, 0.0)
        else:
            dv = tl.dot(p.to(d_o.dtype), d_o, dv)
        ds = (p * (dp - shift[None, :]) * scale).to(q.dtype)
        tl.store(by_query + place, ds, mask=inside[None, :] & there)
        dk = tl.dot(ds, q, dk)
        turned = tl.gather(ds, index, 1)
        tl.store(by_key + base + key[:, None] * LONGEST + query[None, :], turned, mask=there)
        above = tl.load(table_queries + ((m - n) * BLOCK + LONGEST + i)[:, None] * width + column)
        nothing = tl.zeros_like(turned)
        dk = tl.dot(tl.where(upper, turned, nothing), above, dk)
        dk = tl.dot(tl.where(upper, nothing, turned), below, dk)
        below = above
    at = (start + key)[:, None] * width + column
    tl.store(d_keys + at, dk.to(d_keys.dtype.element_ty), mask=there)
    tl.store(d_values + at, dv.to(d_values.dtype.element_ty), mask=there)


@triton.jit
def query_gradients(
    keys, table_keys, by_query, d_queries, starts, stride, total,
    HEADS: tl.constexpr, LONGEST: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
):  # fmt: skip
    """A block of queries a program; afterwards ``by_query`` holds, in each tile, query and distance modulo BLOCK."""
    block, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if block * BLOCK >= length:
        return
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    width: tl.constexpr = HEADS * SIZE
    query = block * BLOCK + i
    inside = query[:, None] < length
    scores = by_query + (head * total + start + query)[:, None].to(tl.int64) * LONGEST
    index = (i[:, None] - i[None, :]) & (BLOCK - 1)
    not_after = i[None, :] <= i[:, None]
    dq = tl.zeros([BLOCK, SIZE], tl.float32)
    above = tl.load(table_keys + (block * BLOCK + LONGEST + i)[:, None] * width + column)
    for n in range(tl.cdiv(length, BLOCK)):
        key = n * BLOCK + i
        ds = tl.load(scores + key[None, :], mask=inside & (key[None, :] < length), other=0.0)
        k = tl.load(keys + (start + key)[:, None] * stride + column, mask=key[:, None] < length, other=0.0)
        dq = tl.dot(ds, k, dq)
        turned = tl.gather(ds, index, 1)
        tl.store(scores + key[None, :], turned, mask=inside)
        below = tl.load(table_keys + ((block - n - 1) * BLOCK + LONGEST + i)[:, None] * width + column)
        nothing = tl.zeros_like(turned)
        dq = tl.dot(tl.where(not_after, turned, nothing), above, dq)
        dq = tl.dot(tl.where(not_after, nothing, turned), below, dq)
        above = below
    at = (start + query)[:, None] * width + column
    tl.store(d_queries + at, dq.to(d_queries.dtype.element_ty), mask=inside)


@triton.jit
def table_gradients(
    vectors, turned, d_table, starts, stride, total, rows, rows_each,
    HEADS: tl.constexpr, LONGEST: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    OF_KEYS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A diagonal of tiles in some rows a program, added up in float32; ``vectors`` are the queries or the keys."""
    diagonal, head, part = tl.program_id(0) - (LONGEST // BLOCK - 1), tl.program_id(1), tl.program_id(2)
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    if OF_KEYS:
        is_above = i[:, None] + i[None, :] < BLOCK
    else:
        is_above = i[None, :] <= i[:, None]
    above = tl.zeros([BLOCK, SIZE], tl.float32)
    below = tl.zeros([BLOCK, SIZE], tl.float32)
    for row in range(part * rows_each, tl.minimum((part + 1) * rows_each, rows)):
        start = tl.load(starts + row)
        length = tl.load(starts + row + 1) - start
        base = turned + (head * total + start).to(tl.int64) * LONGEST
        count = tl.cdiv(length, BLOCK)
        for m in range(tl.maximum(diagonal, 0), tl.minimum(count, count + diagonal)):
            if OF_KEYS:
                token, other = (m - diagonal) * BLOCK + i, m * BLOCK + i
            else:
                token, other = m * BLOCK + i, (m - diagonal) * BLOCK + i
            inside = token[:, None] < length
            ds = tl.load(base + token[:, None] * LONGEST + other[None, :], mask=inside, other=0.0)
            x = tl.load(vectors + (start + token)[:, None] * stride + column, mask=inside, other=0.0)
            nothing = tl.zeros_like(ds)
            above = tl.dot(tl.trans(tl.where(is_above, ds, nothing)), x, above)
            below = tl.dot(tl.trans(tl.where(is_above, nothing, ds)), x, below)
    at = d_table + (diagonal * BLOCK + LONGEST + i)[:, None] * (HEADS * SIZE) + column
    tl.atomic_add(at, above)
    tl.atomic_add(at - BLOCK * (HEADS * SIZE), below)

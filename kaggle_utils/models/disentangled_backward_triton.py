"""Triton kernels of disentangled attention, backward, without atomics on anything that is as long as the text.

Three passes: by blocks of keys (gradients of the values; those of the scores are kept twice, by query and key and by
key and query), by blocks of tokens (gradients of their queries and keys), and by blocks of lines (gradients of the
position tables). What belongs to one line of a table lies along a diagonal of the scores, and is read along it. One
pass over keys for all of it would need more registers than a thread has. Layouts are explained in the forward module.

Tiles of scores are whole: past a row's end they hold zeros. A mask along the numbers that lie side by side would make
the compiler load them one by one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kaggle_utils.models.disentangled_forward_triton import keep_score, place_hash

__all__ = ["table_gradients", "value_gradients", "vector_gradients"]

_LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["total"])
def value_gradients(
    projected, biases, d_out, sums, delta, scores, gradients, starts, seeds, total, blocks, scale, threshold, growth,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
    DROPS: tl.constexpr, INNER: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A block of keys a program, tiles of INNER queries; ``delta`` is the sum of output times its gradient."""
    total, longest = tl.cast(total, tl.int32), tl.cast(blocks, tl.int32) * BLOCK
    scale, growth = tl.cast(scale, tl.float32), tl.cast(growth, tl.float32)
    n, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if n * BLOCK >= length:
        return
    width: tl.constexpr = HEADS * SIZE
    stride: tl.constexpr = 3 * width
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    key = n * BLOCK + tl.arange(0, BLOCK)
    there = key[:, None] < length
    own = (start + key)[:, None] * stride + column
    k = tl.load(projected + width + own, mask=there, other=0.0)
    v = tl.load(projected + 2 * width + own, mask=there, other=0.0)
    if DROPS:
        seed, least = tl.load(seeds).to(tl.uint32), tl.cast(threshold, tl.uint32)
        key_hash = place_hash(seed + 1, key)[:, None]
    dv = tl.zeros([BLOCK, SIZE], tl.float32)
    base = (head * total + start).to(tl.int64) * longest
    by_query, by_key = scores + base, scores + HEADS * total.to(tl.int64) * longest + base
    for first in range(0, tl.cdiv(length, BLOCK) * BLOCK, INNER):
        query = first + tl.arange(0, INNER)
        inside = query < length
        q = tl.load(projected + (start + query)[:, None] * stride + column, mask=inside[:, None], other=0.0)
        d_o = tl.load(d_out + (start + query)[:, None] * width + column, mask=inside[:, None], other=0.0)
        # Queries past the end then weigh nothing.
        log_sum = tl.load(sums + head * total + start + query, mask=inside, other=1.0e30)
        shift = tl.load(delta + (start + query) * HEADS + head, mask=inside, other=0.0)
        place = query[None, :] * longest + key[:, None]
        bias = tl.load(biases + base + place, mask=inside[None, :], other=0.0)
        s = (tl.dot(k, tl.trans(q)) + bias) * (scale * _LOG2E)
        p = tl.exp2(s - log_sum[None, :])  # of keys past the end nothing is kept
        dp = tl.dot(v, tl.trans(d_o))
        if DROPS:
            kept = keep_score(place_hash(seed, (start + query) * HEADS + head)[None, :], key_hash, least)
            dv = tl.dot(tl.where(kept, p, 0.0).to(d_o.dtype), d_o, dv)
            ds = p * (tl.where(kept, dp, 0.0) * growth - shift[None, :])
        else:
            dv = tl.dot(p.to(d_o.dtype), d_o, dv)
            ds = p * (dp - shift[None, :])
        ds = tl.where(there, ds, 0.0).to(q.dtype)
        tl.store(by_query + place, ds, mask=inside[None, :])
        tl.store(by_key + key[:, None] * longest + query[None, :], ds, mask=there)
    tl.store(gradients + 2 * width + own, (dv * growth).to(gradients.dtype.element_ty), mask=there)


@triton.jit
def _side(number, HEADS: tl.constexpr, SIZE: tl.constexpr):  # noqa: N803 (Triton)
    """For queries (0) or keys (1): where their vectors begin in a line, and those of the others.

    And two numbers that turn a token's distance to another into a line: the first token ahead in a block of lines, and
    the direction. Token t and other token t + e share line longest + e for keys, longest - e for queries.
    """
    width: tl.constexpr = HEADS * SIZE
    return number * width, (1 - number) * width, 1 - number, 2 * number - 1


@triton.jit(do_not_specialize=["total"])
def vector_gradients(
    projected, tables, scores, gradients, starts, total, blocks, scale,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
):  # fmt: skip
    """Gradients of a block of queries, or of keys, a program; the scores' gradients lack the scale until here."""
    total, longest = tl.cast(total, tl.int32), tl.cast(blocks, tl.int32) * BLOCK
    scale = tl.cast(scale, tl.float32)
    block, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2) // 2
    start = tl.load(starts + row)
    length = tl.load(starts + row + 1) - start
    if block * BLOCK >= length:
        return
    width: tl.constexpr = HEADS * SIZE
    side = tl.program_id(2) % 2
    mine, theirs, ahead, sign = _side(side, HEADS, SIZE)
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    own = block * BLOCK + i
    inside = own[:, None] < length
    base = scores + ((side * HEADS + head) * total.to(tl.int64) + start) * longest
    plain = own[:, None] * longest + i[None, :]
    diagonal = i[:, None] + i[None, :] + ahead  # of a tile: the other token of each own token and line
    lines = tables + theirs + (longest + sign * (i - (block + 1) * BLOCK + ahead))[:, None] * (2 * width) + column
    before = diagonal - BLOCK
    along = plain + i[:, None] + ahead
    slanted = tl.load(base + (along - BLOCK), mask=inside & (before >= 0) & (before < length), other=0.0)
    gradient = tl.dot(slanted, tl.load(lines))
    for n in range(0, length, BLOCK):
        other = n + i
        ds = tl.load(base + n + plain, mask=inside, other=0.0)
        x = tl.load(
            projected + theirs + (start + other)[:, None] * (3 * width) + column, mask=other[:, None] < length,
            other=0.0,
        )  # fmt: skip
        gradient = tl.dot(ds, x, gradient)
        slanted = tl.load(base + n + along, mask=inside & (n + diagonal < length), other=0.0)
        lines += sign * BLOCK * (2 * width)
        gradient = tl.dot(slanted, tl.load(lines), gradient)
    at = (start + own)[:, None] * (3 * width) + column
    tl.store(gradients + mine + at, (gradient * scale).to(gradients.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["total", "rows", "rows_each"])
def table_gradients(
    projected, scores, d_tables, starts, total, blocks, scale, rows, rows_each,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803 (Triton)
):  # fmt: skip
    """A block of lines of one table in some rows a program, added up in float32."""
    total, longest = tl.cast(total, tl.int32), tl.cast(blocks, tl.int32) * BLOCK
    scale = tl.cast(scale, tl.float32)
    block, head, part = tl.program_id(0) - longest // BLOCK, tl.program_id(1), tl.program_id(2) // 2
    width: tl.constexpr = HEADS * SIZE
    side = tl.program_id(2) % 2
    mine, theirs, ahead, sign = _side(side, HEADS, SIZE)
    i = tl.arange(0, BLOCK)
    column = head * SIZE + tl.arange(0, SIZE)[None, :]
    distance = block * BLOCK + ahead + i
    along = i[:, None] * (longest + 1) + distance[None, :]
    gradient = tl.zeros([BLOCK, SIZE], tl.float32)
    for row in range(part * rows_each, tl.minimum((part + 1) * rows_each, rows)):
        start = tl.load(starts + row)
        length = tl.load(starts + row + 1) - start
        base = scores + ((side * HEADS + head) * total.to(tl.int64) + start) * longest
        count = tl.cdiv(length, BLOCK)
        for m in range(tl.maximum(-block - 1, 0), tl.minimum(count, count - block)):
            token = m * BLOCK + i
            inside = token[:, None] < length
            other = token[:, None] + distance[None, :]
            slanted = tl.load(
                base + m * BLOCK * (longest + 1) + along, mask=inside & (other >= 0) & (other < length), other=0.0
            )
            at = (start + token)[:, None] * (3 * width) + column
            x = tl.load(projected + mine + at, mask=inside, other=0.0)
            gradient = tl.dot(tl.trans(slanted), x, gradient)
    at = d_tables + theirs + (longest + sign * distance)[:, None] * (2 * width) + column
    tl.atomic_add(at, gradient * scale)

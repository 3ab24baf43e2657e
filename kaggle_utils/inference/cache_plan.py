"""How many rows at once, how many pages of cache and how long a prefill a device has room for.

It promises numbers from sizes alone: it reads a config and a count of free bytes, and asks no device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CachePlan", "CacheShape", "cache_shape", "pages_for", "plan_cache"]

_GIB = 1 << 30
_SPARE = 0.75  # GiB for the libraries' workspaces, captured graphs and fragments


@dataclass(frozen=True)
class CacheShape:
    """What a model keeps of each token, and the widths that decide its activations."""

    layers: int
    key_heads: int
    head_size: int
    heads: int
    hidden: int
    inner: int
    vocabulary: int
    square: bool
    """Whether prompts' scores are held as a matrix (soft-cap or window), which a fused kernel would not."""

    @property
    def numbers_per_token(self) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.layers * self.key_heads * self.head_size


@dataclass(frozen=True)
class CachePlan:
    """A plan that fits."""

    slots: int
    """Most rows at once."""
    pages: int
    """Pages of the cache, page 0 included."""
    prefill_tokens: int
    """Most prompt tokens in one forward."""


def cache_shape(config: Any) -> CacheShape:
    """Read a model's config.

    Raises:
        ValueError: a family without ordinary key/value heads; the message names what is missing.
    """
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    heads = getattr(config, "num_attention_heads", None)
    wanted = {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "vocab_size"}
    if missing := sorted(name for name in wanted if not getattr(config, name, None)):
        raise ValueError(
            f"{type(config).__name__} has no {', '.join(missing)}, so its cache is not one of keys and values a head; "
            "use HFGenerator for it"
        )
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise ValueError(f"{type(config).__name__} has layers of kind {sorted(kinds)}; use HFGenerator for it")
    window = getattr(config, "sliding_window", None)
    return CacheShape(
        layers=config.num_hidden_layers,
        key_heads=config.num_key_value_heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        heads=heads,
        hidden=config.hidden_size,
        inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        square=bool(getattr(config, "attn_logit_softcapping", None) or window),
    )


def pages_for(tokens: int, *, page: int) -> int:
    """Return the pages that a row of ``tokens`` takes.

    >>> pages_for(1, page=64), pages_for(64, page=64), pages_for(65, page=64)
    (1, 1, 2)
    """
    return -(-tokens // page)


def plan_cache(
    shape: CacheShape,
    rows: Sequence[tuple[int, int]],
    *,
    page: int,
    itemsize: int,
    free_bytes: float,
    slots: int = 128,
    prefill_tokens: int = 8192,
    most_pages: float = math.inf,
) -> CachePlan:
    """Plan for ``rows``, pairs (prompt tokens, tokens that the row may come to), on a device with ``free_bytes``.

    The cache takes what the ``slots`` longest rows need, or what is left beside a prefill and a step's logits. A cache
    for the longest row alone is always planned: where even that is too much the device says so. ``most_pages`` is the
    caller's own limit.

    >>> gemma = CacheShape(42, 8, 256, 16, 3584, 14336, 256000, True)
    >>> tasks = [(1000, 1512)] * 100
    >>> t4 = plan_cache(gemma, tasks, page=64, itemsize=2, free_bytes=8.6 * 2**30, prefill_tokens=2048)  # beside NF4
    >>> t4.slots, t4.pages
    (14, 360)
    """
    longest = max(most for _, most in rows)
    slots = max(1, min(slots, len(rows)))
    need = sorted((pages_for(most, page=page) for _, most in rows), reverse=True)
    free = free_bytes - _beside(shape, max(prompt for prompt, _ in rows), slots, prefill_tokens, itemsize)
    affordable = min(free // (shape.numbers_per_token * page * itemsize), most_pages)
    pages = 1 + int(max(pages_for(longest, page=page), min(sum(need[:slots]), affordable - 1)))
    # More slots than the shortest rows could fill would only take memory for their logits.
    held, fitting = 0, 0
    for count in reversed(need):
        held += count
        if held > pages - 1:
            break
        fitting += 1
    return CachePlan(max(1, min(slots, fitting)), pages, prefill_tokens)


def _beside(shape: CacheShape, longest_prompt: int, slots: int, prefill_tokens: int, itemsize: int) -> float:
    """Bytes of the largest prefill, and of the logits and their float32 copies, whichever is more, and some spare."""
    tokens = max(longest_prompt, min(prefill_tokens, longest_prompt * slots))
    attention = (4 * shape.heads + 2 * shape.key_heads) * shape.head_size
    layer = tokens * (max(3 * shape.inner, attention) + 6 * shape.hidden) * itemsize
    scores = 3 * shape.heads * longest_prompt**2 * itemsize if shape.square else 0
    logits = slots * shape.vocabulary * (2 * itemsize + 3 * 4 + 1)
    return max(layer + scores, logits) + slots * shape.vocabulary * itemsize + _SPARE * _GIB

"""A key/value cache in pages, and the attention that reads it: how many rows share one batch without padding.

It promises, through transformers' own attention seam (a registered attention function; no cache class and no mask),
what each row would attend to alone, soft-cap, shared key heads and sliding window included. Prompts lie one after
another in one long row (:class:`Prompts`), then every row adds one token at a time (:class:`Tokens`). It does not know
which row owns which page, or what tokens mean.

Pages are a row's own, so a row takes the memory of its own length, not of the longest. With Triton one kernel reads
each key once (``paged_triton.py``); elsewhere pages are gathered into a padded batch, a copy a layer and step.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.ragged import ragged_operator

if TYPE_CHECKING:
    import torch

__all__ = [
    "IMPLEMENTATION",
    "PAGE",
    "PagedCache",
    "Prompts",
    "Tokens",
    "attend_gathered",
    "kernel_works",
    "register_paged_attention",
]

_logger = logging.getLogger(__name__)

PAGE = 64
"""Positions in a page."""
IMPLEMENTATION = "kaggle_paged"
"""The name that transformers knows the attention by."""


class PagedCache:
    """Keys and values of all layers: for each layer two pools [pages, key heads, PAGE, D].

    A layer's pools are made on its first use, on its device and in its dtype. Page 0 belongs to nobody: rows that only
    fill up a batch write there.
    """

    def __init__(self, pages: int) -> None:
        """``pages`` counts page 0 in, so it is at least 2."""
        if pages < 2:
            raise ValueError(f"a cache of {pages} pages holds nothing; expected 2 or more")
        self.pages = pages
        self._pools: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def layers(self) -> int:
        """Layers that have written something."""
        return len(self._pools)

    def pools(self, layer: int, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the layer's pools, made like ``key`` [rows, key heads, n, D] if it has none yet."""
        if layer not in self._pools:
            shape = (self.pages, key.shape[1], PAGE, key.shape[3])
            self._pools[layer] = (key.new_zeros(shape), key.new_zeros(shape))
        return self._pools[layer]


@dataclass
class _Step:
    """What lies where in one forward; every layer is handed the same one."""

    cache: PagedCache
    _moved: dict[Any, tuple[torch.Tensor, ...]] = field(default_factory=dict, repr=False)

    def on(self, device: Any, make: Any) -> tuple[torch.Tensor, ...]:
        """``make()`` on ``device``, once a step and device: layers may lie on several."""
        if device not in self._moved:
            self._moved[device] = tuple(tensor.to(device) for tensor in make())
        return self._moved[device]


@dataclass
class Prompts(_Step):
    """Prompts one after another, as ``input_ids`` [1, N] with positions that restart."""

    pages: torch.Tensor = None  # type: ignore[assignment]
    """Page of each token, int64 [N]."""
    places: torch.Tensor = None  # type: ignore[assignment]
    """Position in its page, int64 [N]."""
    ends: torch.Tensor = None  # type: ignore[assignment]
    """Where each prompt ends, int64 [prompts] on the CPU."""


@dataclass
class Tokens(_Step):
    """One new token a row, as ``input_ids`` [rows, 1]."""

    table: torch.Tensor = None  # type: ignore[assignment]
    """Pages of each row in order, int32 [rows, width]; beyond its length anything."""
    lengths: torch.Tensor = None  # type: ignore[assignment]
    """Tokens of each row, the new one included, int32 [rows]."""
    width: int = 0
    """Pages of the longest row: how much of the table counts. The kernel does not need it."""
    kernel: bool = False
    """Whether to use the Triton kernel."""


@functools.lru_cache(maxsize=1)
def register_paged_attention() -> None:
    """Make the attention known to transformers, once a process."""
    torch = require("torch", extra="llm")
    ragged = ragged_operator()

    def paged(module, query, key, value, attention_mask, *, scaling, softcap=None, sliding_window=None, paged=None,
              s_aux=None, **_):  # fmt: skip
        if paged is None or s_aux is not None:
            raise NotImplementedError(
                f"{type(module).__name__} does not pass the paged cache on, or uses attention sinks: this model needs "
                "HFGenerator"
            )
        pools = paged.cache.pools(module.layer_idx, key)
        options = float(scaling), float(softcap or 0.0), int(sliding_window or 0)
        if isinstance(paged, Prompts):
            pages, places = paged.on(key.device, lambda: (paged.pages, paged.places))
            for pool, new in zip(pools, (key, value), strict=True):
                pool[pages, :, places] = new[0].transpose(0, 1)
            return ragged(query, key, value, paged.ends, *options), None
        return _next_token(torch, query, key, value, paged, pools, options), None

    require("transformers", extra="llm").AttentionInterface.register(IMPLEMENTATION, paged)


def _next_token(torch, query, key, value, step, pools, options):
    """query [rows, H, 1, D], key and value [rows, Hkv, 1, D] -> [rows, 1, H, D]."""
    scaling, softcap, window = options
    if step.kernel:
        from kaggle_utils.models import paged_triton

        table, lengths = step.on(key.device, lambda: (step.table, step.lengths))
        paged_triton.store_token(key, value, *pools, table, lengths)
        return paged_triton.attend_pages(query, *pools, table, lengths, scale=scaling, cap=softcap, window=window)
    table, lengths, page, place, unseen = step.on(key.device, lambda: _addresses(torch, step))
    for pool, new in zip(pools, (key, value), strict=True):
        pool[page, :, place] = new[:, :, 0]
    if window:
        positions = torch.arange(unseen.shape[1], device=unseen.device)
        unseen = unseen | (positions[None] < lengths[:, None] - window)
    return attend_gathered(query, *(_gathered(pool, table) for pool in pools), unseen, scaling, softcap)


def _addresses(torch, step):
    """Table [rows, width], lengths, page and place of each new token, and unseen positions [rows, width * PAGE]."""
    table, lengths = step.table[:, : step.width].long(), step.lengths.long()
    page = table.gather(1, ((lengths - 1) // PAGE)[:, None])[:, 0]
    positions = torch.arange(step.width * PAGE, device=lengths.device)
    return table, lengths, page, (lengths - 1) % PAGE, positions[None] >= lengths[:, None]


def _gathered(pool, table):
    """Pages of each row side by side: [rows, key heads, width * PAGE, D], a copy."""
    rows, width = table.shape
    return pool[table].transpose(1, 2).reshape(rows, pool.shape[1], width * PAGE, pool.shape[3])


def attend_gathered(query, key, value, unseen, scaling: float, softcap: float):
    """Attend with torch's operations: query [rows, H, 1, D], key and value [rows, Hkv, L, D] -> [rows, 1, H, D].

    Heads that share a key head are laid into one query, so that keys are never copied per head. ``unseen`` is bool
    [rows, L].
    """
    rows, heads, _, size = query.shape
    keys = key.shape[1]
    scores = (query.reshape(rows, keys, heads // keys, size) * scaling) @ key.transpose(2, 3)
    if softcap:
        scores = (scores / softcap).tanh() * softcap
    weights = scores.float().masked_fill(unseen[:, None, None], float("-inf")).softmax(dim=-1).to(value.dtype)
    return (weights @ value).reshape(rows, 1, heads, size)


@functools.lru_cache(maxsize=None)  # noqa: UP033 (a handful of devices and shapes)
def kernel_works(device: torch.device, dtype: torch.dtype, heads: int, keys: int, size: int) -> bool:
    """Whether the Triton kernel compiles on ``device`` and agrees with torch's operations there; probed once."""
    if device.type != "cuda":
        return False
    torch = require("torch", extra="llm")
    try:
        from kaggle_utils.models import paged_triton

        for softcap, window in ((50.0, 0), (0.0, 0), (50.0, 100)):
            worst = _probe(torch, paged_triton.attend_pages, device, dtype, (heads, keys, size), softcap, window)
            if not worst < (1e-4 if dtype == torch.float32 else 0.03):
                raise RuntimeError(f"it is off by {worst:.3g}")
    except Exception as error:  # no Triton, no compiler, a card it does not know: slower, never wrong
        _logger.warning("paged attention runs without its kernel on %s: %s: %s", device, type(error).__name__, error)
        return False
    return True


def _probe(torch, attend, device, dtype, shape, softcap, window) -> float:
    """Largest difference between the kernel and torch's operations in float32, on three rows of four pages."""
    heads, keys, size = shape
    generator = torch.Generator(device="cpu").manual_seed(0)

    def random(*sizes):
        return torch.randn(*sizes, generator=generator).to(device, dtype)

    pools = random(13, keys, PAGE, size), random(13, keys, PAGE, size)
    query, scale = random(3, heads, 1, size), size**-0.5
    table = torch.arange(1, 13, dtype=torch.int32, device=device).view(3, 4).flip(1)
    lengths = torch.tensor([1, 70, 256], dtype=torch.int32, device=device)
    found = attend(query, *pools, table, lengths, scale=scale, cap=softcap, window=window)
    positions = torch.arange(4 * PAGE, device=device)[None]
    unseen = positions >= lengths[:, None]
    if window:
        unseen = unseen | (positions < lengths[:, None] - window)
    gathered = (_gathered(pool.float(), table.long()) for pool in pools)
    wanted = attend_gathered(query.float(), *gathered, unseen, scale, softcap)
    return (found.float() - wanted).abs().max().item()

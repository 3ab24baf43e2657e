"""Do rows that are scored together get the logits that each gets alone? Asked once, before a run believes it.

A kernel, a cache or a mask that lets rows see each other gives plausible numbers, so nothing else would notice. A few
short rows go through the scorer in one pack, and each alone through transformers' own padded forward. It promises an
error where they differ by more than rounding explains, and a note where they come near that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_keys import listed
from kaggle_utils.models.compiling import plain_layers

if TYPE_CHECKING:
    import torch

__all__ = ["RowCheckError", "check_rows", "plain_logits", "rounding_limit"]

# A deep model adds up many roundings: between pack shapes of a 9B model in bfloat16, logits moved by up to 10 steps.
_STEPS = 24
_FLOOR = 1e-3
_TIMES_NOISE = 6
# Steps of activations that are rounded more coarsely than the model's dtype, by class of the layer.
_COARSE = {"Linear8bitLt": 2.0**-7, "Float8Linear": 2.0**-6}


class RowCheckError(RuntimeError):
    """Rows that are scored together do not get their own logits, or none that are finite."""


def check_rows(scorer: Any, rows: Sequence[np.ndarray]) -> str | None:
    """Score ``rows`` in one pack and each alone; return a note where they differ a little, None where they agree.

    Args:
        scorer: a ``PackedClassifier``.
        rows: a few short ones; the time is that of seven small forwards.

    Raises:
        RowCheckError: they differ by more than rounding explains, or no row has finite logits to compare.
    """
    model = scorer.model
    alone = np.concatenate([plain_logits(model, [row], layers=scorer.layers) for row in rows])
    padded = plain_logits(model, rows, layers=scorer.layers)
    together = _together(scorer, rows)
    finite = np.isfinite(alone).all(axis=1) & np.isfinite(padded).all(axis=1)  # float16 overflows alone, too
    if not finite.any():
        raise RowCheckError(_nothing_finite(model, len(rows)))
    noise = float(np.abs(padded - alone)[finite].max(initial=0.0))
    off = float(np.abs(together - alone)[:, finite].max(initial=0.0))
    limit = max(rounding_limit(model, alone[finite]), _TIMES_NOISE * noise)
    if off <= limit / 4:
        return None
    what = (
        f"{len(rows)} rows scored together differ by up to {off:.3g} in a logit from each alone through the plain "
        f"forward (two plain ones differ by {noise:.2g})"
    )
    if off <= limit:
        return f"{what}; {limit:.3g} would be an error"
    raise RowCheckError(
        f"{what}, allowed is {limit:.3g}: path {scorer.path.name!r} on {scorer.device} lets rows see each other or "
        "computes something else; give PackedClassifier another path, or score with self_check=False"
    )


def _nothing_finite(model: torch.nn.Module, count: int) -> str:
    """What to say of weights or a dtype that give no row a number; says which weights are not finite themselves."""
    names = (n for n, p in model.named_parameters() if p.is_floating_point() and p.itemsize > 1)
    parameters = dict(model.named_parameters())
    damaged = [name for name in names if not parameters[name].detach().isfinite().all()]
    cause = f"damaged weights: {listed(damaged)}" if damaged else f"damaged weights, or overflow in {_dtype(model)}"
    return (
        f"none of {count} rows has finite logits, not even through the plain forward: {cause}; copy the model folder "
        "and the adapter again, or give dtype='bfloat16' or 'float32'"
    )


def _dtype(model: torch.nn.Module) -> torch.dtype:
    torch = require("torch", extra="llm")
    return next((p.dtype for p in model.parameters() if p.is_floating_point() and p.itemsize > 1), torch.float32)


def _together(scorer: Any, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Logits of the rows in one pack: [times, rows, labels]; compiled layers get the size of pack that they will meet.

    A small pack would be a size of its own, compiled for nothing; so the rows are repeated until it is a large one.
    """
    times = scorer.max_tokens // 2 // sum(map(len, rows)) + 1 if scorer.compiled else 1
    return scorer.score(list(rows) * times).reshape(times, len(rows), -1)


def rounding_limit(model: torch.nn.Module, logits: np.ndarray) -> float:
    """How far logits of this size may move when a model of this precision adds up in another order."""
    torch = require("torch", extra="llm")
    dtype = _dtype(model)
    kinds = {type(module).__name__ for module in model.modules()}
    step = max([torch.finfo(dtype).eps, *(size for kind, size in _COARSE.items() if kind in kinds)])
    finite = np.abs(logits[np.isfinite(logits)])
    return max(_STEPS * step, _FLOOR) * max(1.0, float(finite.max(initial=0.0)))


def plain_logits(
    model: torch.nn.Module, rows: Sequence[np.ndarray], *, layers: Sequence[torch.nn.Module] = ()
) -> np.ndarray:
    """Logits by transformers' own eager forward on right-padded rows with a mask: float32 [rows, labels].

    Args:
        model: a sequence classifier.
        rows: integer arrays [length of row].
        layers: compiled layers, which stay out of it.
    """
    torch = require("torch", extra="llm")
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(np.asarray(row, dtype=np.int64))
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    place = next(model.parameters()).device
    inputs = {"input_ids": ids.to(place), "attention_mask": mask.to(place)}
    with torch.inference_mode(), plain_layers(layers), _eager_attention(model):
        if not hasattr(model, "score"):  # an encoder pools by itself
            return model(**inputs).logits.float().cpu().numpy()
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        pooled = hidden[torch.arange(len(rows), device=hidden.device), (lengths - 1).to(hidden.device)]
        return model.score(pooled).float().cpu().numpy()


@contextlib.contextmanager
def _eager_attention(model: torch.nn.Module) -> Iterator[None]:
    """transformers' own attention for a while."""
    configs = list({id(config): config for config in (model.config, model.base_model.config)}.values())
    kept = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, name in zip(configs, kept, strict=True):
            config._attn_implementation = name

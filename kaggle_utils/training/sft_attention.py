"""Which attention implementation keeps packed rows apart, on this model and this device: measured, not believed.

It promises an implementation whose gradients do not cross from one row into another by a single bit, and whose packed
logits are those of the row alone up to rounding; or an error. Packed input goes to the model with positions that begin
at 0 in each row, without a mask and without a cache: with either, transformers lets rows see each other.

| implementation | kernel | needs |
|---|---|---|
| ``kaggle_varlen`` | torch's varlen kernel, n^2 of each row | compute capability 8.0, no soft-cap |
| ``flex_attention`` | compiled blocks, skips foreign rows | compute capability 8.0, Triton; soft-cap is fine |
| ``flash_attention_2`` | only by name, where the package is installed | compute capability 8.0 |
| ``sdpa`` | a mask: n^2 of the whole pack | nothing; not for models with a soft-cap |
| ``eager`` | the same, slower | nothing |
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.attention import register_attention
from kaggle_utils.training.sft_packing import IGNORED, pack_batch

__all__ = ["PackedAttention", "choose_packed_attention", "isolation_problem", "model_inputs"]

_logger = logging.getLogger(__name__)

_VARLEN = "kaggle_varlen"
_PROBE = (5, 9, 7)  # tokens of the rows that are tried
_PROBE_SIZE = 128


@dataclass(frozen=True)
class PackedAttention:
    """How packed rows attend."""

    name: str
    """transformers' name of the implementation."""
    reason: str
    """Why this one, and what became of the others."""


def choose_packed_attention(
    model: Any, *, wanted: str = "auto", autocast: Callable[[], Any] = contextlib.nullcontext
) -> PackedAttention:
    """Set and return the first implementation that keeps rows apart, fastest first.

    Args:
        model: a causal language model on its device, with or without an adapter.
        wanted: "auto", or the one to take.
        autocast: makes the context of a forward pass.

    Raises:
        ValueError: none does, or ``wanted`` does not; with what each one did.
    """
    register_attention()
    before = model.config._attn_implementation
    failed = []
    for name in _candidates(model) if wanted == "auto" else (wanted,):
        try:
            model.set_attn_implementation(name)
            problem = isolation_problem(model, name, autocast=autocast)
        except Exception as error:  # a kernel that this device, model or release does not have
            problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error) else ''}"
        if problem is None:
            reason = "rows were kept apart" + "".join(f"; {each}" for each in failed)
            _logger.info("packed rows attend by %s: %s", name, reason)
            return PackedAttention(name, reason)
        failed.append(f"{name}: {problem}")
    model.set_attn_implementation(before)
    raise ValueError(
        f"no attention implementation keeps packed rows apart on {type(model).__name__}:\n"
        + "\n".join(f"  - {each}" for each in failed)
        + "\nTrain with packing=False"
    )


def model_inputs(batch: Mapping[str, np.ndarray], *, attention: str | None) -> dict[str, Any]:
    """Return a batch as what the model's forward takes; ``attention`` names the implementation of packed batches.

    The varlen kernel wants all packs of a batch as one row [1, packs x tokens], and where rows begin.
    """
    torch = require("torch", extra="llm")
    if attention != _VARLEN:
        return {name: torch.from_numpy(array) for name, array in batch.items()}
    inputs = {name: torch.from_numpy(array.reshape(1, -1)) for name, array in batch.items()}
    positions = batch["position_ids"].reshape(-1)
    borders = np.append(np.flatnonzero(positions == 0), len(positions)).astype(np.int32)
    return {**inputs, "cu_seqlens": torch.from_numpy(borders), "max_length": int(np.diff(borders).max())}


def isolation_problem(
    model: Any, attention: str, *, autocast: Callable[[], Any] = contextlib.nullcontext
) -> str | None:
    """Say how packed rows see each other under ``attention`` (already set), or None where they do not.

    Three short rows go through the model in one pack, and the middle one alone. Costs two small forward passes and one
    backward pass; the model's gradients stay as they are.
    """
    torch = require("torch", extra="llm")
    embeddings = model.get_input_embeddings()
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, embeddings.weight.shape[0], size).astype(np.int32) for size in _PROBE]
    start, stop = _PROBE[0], _PROBE[0] + _PROBE[1]
    training = model.training
    model.eval()
    try:
        with autocast():
            logits, given = _probe(model, attention, rows)
            (gradient,) = torch.autograd.grad(logits[start:stop].logsumexp(-1).sum(), given)
            alone = _probe(model, attention, [rows[1]])[0][: stop - start].detach()
    finally:
        model.train(training)
    gradient = gradient.reshape(-1, gradient.shape[-1])
    inside, outside = gradient[start:stop], torch.cat([gradient[:start], gradient[stop:]])
    if not gradient.isfinite().all() or not inside.any():
        return "gradients are not finite or vanish"
    if outside.any():
        return f"rows see each other (gradients of {outside.abs().max().item():.3g} reach other rows)"
    off, scale = (logits[start:stop].detach() - alone).abs().max().item(), alone.abs().max().item()
    allowed = (0.1 if _is_coarse(model, autocast) else 1e-3) * scale
    if not off <= allowed:
        return f"a row's logits are off by {off:.3g} (of {scale:.3g}) in a pack"
    return None


def _is_coarse(model: Any, autocast: Callable[[], Any]) -> bool:
    """Whether the model computes in 16 bits."""
    torch = require("torch", extra="llm")
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return kinds != {torch.float32} or not isinstance(autocast(), contextlib.nullcontext)


def _probe(model: Any, attention: str, rows: list[np.ndarray]) -> tuple[Any, Any]:
    """Logits [tokens, vocabulary] of a pack, and the embeddings that they were computed from."""
    ids = [(row, np.full(len(row), IGNORED, np.int32)) for row in rows]
    inputs = model_inputs(pack_batch([ids], pad_id=0, size=_PROBE_SIZE), attention=attention)
    embeddings = model.get_input_embeddings()
    device = embeddings.weight.device
    inputs = {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
    inputs.pop("labels")
    given = embeddings(inputs.pop("input_ids")).detach().requires_grad_()
    output = model(inputs_embeds=given, use_cache=False, **inputs)
    return output.logits.reshape(-1, output.logits.shape[-1]).float(), given


def _candidates(model: Any) -> list[str]:
    torch = require("torch", extra="llm")
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    device = model.get_input_embeddings().weight.device
    modern = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    capped = bool(getattr(config, "attn_logit_softcapping", None))
    known = require("transformers", extra="llm").AttentionInterface()
    fast = [_VARLEN] if modern and not capped and _VARLEN in known else []
    return [*fast, *(["flex_attention"] if modern else []), *([] if capped else ["sdpa"]), "eager"]

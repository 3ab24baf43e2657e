"""Attention for many rows at once, without an N x N mask: which kernel, and why.

One place decides by device capability (:func:`choose_attention`) and one registers the kernels with transformers, so
that its own layers run on them. It promises that every kernel equals the plain padded forward up to rounding. It does
not know how rows are packed (``packed.py``) or where they come from.

| path | rows lie | needs |
|---|---|---|
| ``flex`` | one after another | a GPU of compute capability 8.0 and Triton; cap and window are part of the kernel |
| ``varlen`` | one after another | the same, 16 bits, and torch's varlen kernel; no soft-cap |
| ``ragged`` | one after another | nothing; attention goes row by row, everything else sees no padding |
| ``causal`` | right-padded, sorted | nothing: a causal model never looks right, so padding needs no mask |
| ``masked`` | right-padded, sorted | nothing; for encoders, which look both ways |
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.models.ragged import ragged_operator
from kaggle_utils.models.softcap import FAST_TILES, WIDE_HEAD_TILES, fast_softcap_works, softcap_modifier, softcapped

__all__ = ["PATHS", "AttentionPath", "choose_attention", "register_attention"]

PATHS = ("flex", "varlen", "ragged", "causal", "masked")
"""Every path, fastest first."""

_PACKED = ("flex", "varlen", "ragged")


@dataclass(frozen=True)
class AttentionPath:
    """A way to attend, and the reason for it."""

    name: str
    """One of :data:`PATHS`."""
    reason: str
    """Why this one, in words for the log."""
    fast_softcap: bool = False
    """The soft-cap is one instruction (flex only)."""

    @property
    def packed(self) -> bool:
        """True: rows lie one after another in one long row; False: one row each, padded on the right."""
        return self.name in _PACKED

    @property
    def implementation(self) -> str:
        """The name that transformers knows the kernel by."""
        return "eager" if self.name == "masked" else f"kaggle_{self.name}" + "_fast" * self.fast_softcap


def choose_attention(
    config: Any, *, capability: tuple[int, int] | None, allow: tuple[str, ...] = PATHS, half: bool = True
) -> AttentionPath:
    """Choose the fastest path that this model and this device allow.

    Args:
        config: the model's transformers config.
        capability: CUDA compute capability of the device, None on a CPU.
        allow: paths that may be used; a profile of an older card leaves some out.
        half: the model computes in 16 bits; torch's varlen kernel knows no other numbers.

    Raises:
        ValueError: nothing is left.
    """
    decoder = not getattr(config, "is_encoder_decoder", False) and hasattr(config, "num_key_value_heads")
    softcap = getattr(config, "attn_logit_softcapping", None)
    if not decoder:
        candidates = {"masked": "an encoder looks both ways: padded batches with a mask"}
    elif capability is None:
        candidates = {"causal": "a CPU: right-padded sorted batches, which a causal model needs no mask for"}
    elif capability < (8, 0):
        candidates = {
            "ragged": f"compute capability {capability[0]}.{capability[1]} has neither flex nor varlen kernels",
            "causal": "right-padded sorted batches without a mask",
        }
    else:
        candidates = {
            "flex": "document blocks" + (f" and the soft-cap of {softcap:g}" if softcap else "") + " in one kernel"
        }
        if half and not softcap and _varlen_kernel_of_torch() is not None:
            candidates["varlen"] = "torch's varlen kernel; the model has no soft-cap"
        candidates["ragged"] = "packed rows, attention row by row"
        candidates["causal"] = "right-padded sorted batches without a mask"
    for name, reason in candidates.items():
        if name in allow:
            fast = name == "flex" and bool(softcap) and _register_fast()
            return AttentionPath(name, reason + ", tanh as one instruction" * fast, fast)
    raise ValueError(f"no attention path is left: this model and device allow {sorted(candidates)}, the caller {allow}")


@functools.lru_cache(maxsize=1)
def register_attention() -> None:
    """Make the kernels known to transformers, once a process; masks are left to the kernels."""
    interface = require("transformers", extra="llm").AttentionInterface
    interface.register("kaggle_flex", _flex_kernel(fast=False))
    interface.register("kaggle_causal", _causal_kernel())
    interface.register("kaggle_ragged", _ragged_kernel())
    if (varlen_attn := _varlen_kernel_of_torch()) is not None:
        interface.register("kaggle_varlen", _varlen_kernel(varlen_attn))


@functools.lru_cache(maxsize=1)
def _register_fast() -> bool:
    """Make the kernel with the fast soft-cap known, where it works; only asked for models that have a soft-cap."""
    if works := fast_softcap_works():
        interface = require("transformers", extra="llm").AttentionInterface
        interface.register("kaggle_flex_fast", _flex_kernel(fast=True))
    return works


def _varlen_kernel_of_torch() -> Any:
    """Return torch's kernel, or None where this torch has none or one without a window (before 2.11)."""
    try:
        kernel = require("torch.nn.attention.varlen", extra="llm").varlen_attn
    except ModuleNotFoundError:
        return None
    return kernel if "window_size" in inspect.signature(kernel).parameters else None


# The kernels are closures over torch's functions: an import inside them would break the graph of a compiled layer.


def _flex_kernel(*, fast: bool):
    """Rows one after another: query [1, H, N, D], key and value [1, Hkv, N, D] -> [1, N, H, D]."""
    flex_attention = require("torch.nn.attention.flex_attention", extra="llm").flex_attention
    modifier, tiles = softcap_modifier(fast=fast), FAST_TILES if fast else WIDE_HEAD_TILES

    def flex(module, query, key, value, attention_mask, *, scaling, softcap=None, sliding_window=None, block_mask=None,
             window_mask=None, **_):  # fmt: skip
        out = flex_attention(
            query,
            key,
            value,
            score_mod=modifier(float(softcap)) if softcap else None,
            block_mask=window_mask if sliding_window and window_mask is not None else block_mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
            kernel_options=dict(tiles) if query.shape[-1] > 128 and query.is_cuda else None,
        )
        return out.transpose(1, 2), None

    return flex


def _varlen_kernel(varlen_attn):
    """Rows one after another through torch's varlen kernel, which wants [N, H, D]."""

    def varlen(module, query, key, value, attention_mask, *, scaling, sliding_window=None, cu_seqlens=None,
               max_length=None, **_):  # fmt: skip
        heads, keys = query.shape[1], key.shape[1]
        # Rotary tables of float32 make query and key wider than the value where training runs under autocast.
        query, key, value = (t[0].transpose(0, 1).to(value.dtype) for t in (query, key, value))
        if heads != keys:  # older releases do not share key heads themselves
            key, value = (t.repeat_interleave(heads // keys, dim=1) for t in (key, value))
        window = (min(sliding_window, max_length) - 1 if sliding_window else -1, 0)
        out = varlen_attn(
            query, key, value, cu_seqlens, cu_seqlens, max_length, max_length, scale=scaling, window_size=window
        )
        return out[None], None

    return varlen


def _ragged_kernel():
    """Rows one after another: query [1, H, N, D], key and value [1, Hkv, N, D] -> [1, N, H, D]."""
    attend = ragged_operator()

    def ragged(
        module, query, key, value, attention_mask, *, scaling, softcap=None, sliding_window=None, ends=None, **_
    ):
        return attend(query, key, value, ends, float(scaling), float(softcap or 0.0), int(sliding_window or 0)), None

    return ragged


def _causal_kernel():
    """Right-padded rows: query [B, H, L, D] -> [B, L, H, D]; padding is never looked at by what lies before it."""
    torch = require("torch", extra="llm")
    attend = torch.nn.functional.scaled_dot_product_attention

    def causal(module, query, key, value, attention_mask, *, scaling, softcap=None, sliding_window=None, **_):
        length = query.shape[2]
        window = sliding_window if sliding_window and sliding_window < length else None
        if softcap is None and window is None:
            shared = query.shape[1] != key.shape[1]
            return attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=shared).transpose(1, 2), None
        batch, heads, _, size = query.shape
        keys = key.shape[1]
        # Heads that share a key head are laid into one long query, so that keys are never copied per head.
        grouped = (query * scaling).reshape(batch, keys, heads // keys * length, size)
        scores = (grouped @ key.transpose(2, 3)).view(batch, keys, heads // keys, length, length).float()
        position = torch.arange(length, device=query.device)
        seen = position[None, :] <= position[:, None]
        if window is not None:
            seen = seen & (position[None, :] > position[:, None] - window)
        weights = softcapped(scores, softcap).masked_fill(~seen, float("-inf")).softmax(dim=-1).to(value.dtype)
        out = weights.view(batch, keys, heads // keys * length, length) @ value
        return out.view(batch, heads, length, size).transpose(1, 2), None

    return causal

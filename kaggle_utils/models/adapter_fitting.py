"""An adapter put onto a model: every tensor used, every layer filled, or an error that names them.

Merged into 16-bit weights, or kept beside the weights by peft's layers. It never merges into 4- or 8-bit weights:
rounding them again loses most of the update (peft issue 2321), so those are expanded first. It reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_keys import lies_in, listed
from kaggle_utils.models.adapters import Adapter
from kaggle_utils.models.checkpoint import CheckpointError
from kaggle_utils.models.merging import expand_weights

if TYPE_CHECKING:
    import torch

__all__ = ["apply_adapter"]


def apply_adapter(
    model: torch.nn.Module, adapter: Adapter, *, merge: bool, dtype: torch.dtype, uncovered: Sequence[str] = ()
) -> torch.nn.Module:
    """Put an adapter onto ``model``, in place, and return the model (of its own class, whatever peft wraps it in).

    Args:
        model: a transformers model.
        adapter: what :func:`read_adapter` returned.
        merge: add the update to the weights (4- and 8-bit ones are expanded to ``dtype`` first, once); otherwise layers
            keep it beside their weights.
        dtype: of expanded weights and of the adapter.
        uncovered: parameters that the base checkpoint did not fill, so that the adapter must.

    Raises:
        CheckpointError: tensors that fit nowhere, layers that are left empty, shapes that differ: all at once; or
            merged weights that are not finite.
    """
    problems = _module_problems(model, adapter, uncovered) + _empty_layers(model, adapter)
    if not adapter.lora:
        problems.append("it holds no lora_ tensors")
    if problems:
        raise CheckpointError(adapter.source, problems)
    torch = require("torch", extra="llm")
    if merge and getattr(model, "hf_quantizer", None) is not None:
        expand_weights(model, dtype=dtype)
    with torch.no_grad():
        parameters = dict(model.named_parameters())
        for name, tensor in adapter.modules.items():
            parameters[name].copy_(tensor)
        wrapped = _with_lora(model, adapter)
        if merge:
            return _merged(wrapped, adapter, dtype)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return wrapped.get_base_model().eval().requires_grad_(False)


def _merged(wrapped: Any, adapter: Adapter, dtype: torch.dtype) -> torch.nn.Module:
    try:
        return wrapped.merge_and_unload(safe_merge=True).eval().requires_grad_(False)
    except ValueError as error:  # peft looks at every merged weight
        advice = f"the base weights are damaged, or alpha is wrong, or their sum is too large for {dtype}"
        raise CheckpointError(adapter.source, [f"it cannot be merged: {error}", advice]) from error


def _empty_layers(model: torch.nn.Module, adapter: Adapter) -> list[str]:
    """Layers like those that the adapter fills, which it leaves as they are; its settings do not say that it may."""
    filled = set(adapter.layers)
    empty = [
        name
        for name, _ in model.named_modules()
        if name not in filled and any(re.fullmatch(pattern, name) for pattern in adapter.required)
    ]
    if not empty:
        return []
    return [
        f"{len(empty)} layers are not in it, while their like in other layers are: {listed(empty)}",
        "take a whole copy of it, or give LoraSettings(layers=(...)) where it was trained on some layers only",
    ]


def _module_problems(model: torch.nn.Module, adapter: Adapter, uncovered: Sequence[str]) -> list[str]:
    """What is wrong with the whole parameters that the adapter brings, or does not bring."""
    there = {name: tuple(p.shape) for name, p in model.named_parameters()}
    brought = {name: tuple(t.shape) for name, t in adapter.modules.items()}
    problems = []
    if unused := [name for name in brought if name not in there]:
        problems.append(f"{len(unused)} tensors fit nowhere in {type(model).__name__}: {listed(unused)}")
    differing = [f"{n} {brought[n]}, expected {there[n]}" for n in brought if n in there and brought[n] != there[n]]
    if differing:
        problems.append(f"{len(differing)} tensors of another shape: {listed(differing)}")
    saved = [name for name in there if lies_in(name, adapter.saved_modules)]
    if missing := sorted({*saved, *uncovered} - set(brought)):
        problems.append(f"{len(missing)} parameters are neither in it nor in the base weights: {listed(missing)}")
    return problems


def _with_lora(model: torch.nn.Module, adapter: Adapter) -> Any:
    """Wrap ``model`` by peft and fill every tensor of the adapter."""
    peft = require("peft", extra="llm")
    try:
        wrapped = peft.PeftModel(model, adapter.config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise CheckpointError(adapter.source, [str(error)]) from error
    expected = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    found = {f"base_model.model.{name}": tensor for name, tensor in adapter.lora.items()}
    problems = []
    if unused := sorted(found.keys() - expected.keys()):
        problems.append(f"{len(unused)} tensors fit no adapted layer of {type(model).__name__}: {listed(unused)}")
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"{len(missing)} tensors of adapted layers are not in it: {listed(missing)}")
    differing = [
        f"{name} {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in found.keys() & expected.keys()
        if found[name].shape != expected[name].shape
    ]
    if differing:
        problems.append(f"{len(differing)} tensors of another shape: {listed(sorted(differing))}")
    if problems:
        problems.append("check that the adapter was trained on this base model, and with these settings")
        raise CheckpointError(adapter.source, problems)
    peft.set_peft_model_state_dict(wrapped, found)
    return wrapped

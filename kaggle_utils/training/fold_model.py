"""The model of one fold: loaded with a head of the fold's own seed, partly frozen, its parameters grouped by depth.

It promises float32 weights, an error where a checkpoint leaves the body of the model random, and that whatever
``prepare_model`` changes keeps the names and shapes of the weights, so that checkpoints stay ordinary folders.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require

__all__ = ["PrepareModel", "freeze", "load_fold_model", "parameter_counts", "parameter_groups"]

PrepareModel = Callable[[Any], Any]
"""Takes the loaded model, changes it (fused attention, compiled layers), and returns it. It must be importable by name
where folds run in processes of their own."""

_logger = logging.getLogger(__name__)
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h|blocks)\.(\d+)\.")


def load_fold_model(
    folder: Path, *, num_labels: int, seed: int, overrides: Mapping[str, Any], prepare: PrepareModel | None = None
) -> Any:
    """Load a sequence classifier with a head of ``seed``.

    Raises:
        ValueError: overrides that the config does not know; a checkpoint without parts of the body; ``prepare``
            changed the names or shapes of weights.
    """
    transformers = require("transformers", extra="llm")
    torch = require("torch", extra="llm")
    config = _config(transformers, folder, num_labels, overrides)
    transformers.set_seed(seed)
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    _check_body(folder, model.base_model_prefix, info)
    return model if prepare is None else _prepared(model, prepare)


def parameter_counts(
    folder: Path, *, num_labels: int, overrides: Mapping[str, Any], freeze_embeddings: bool, freeze_layers: int
) -> tuple[int, int]:
    """Return how many parameters the classifier has, and how many of them are trained; nothing is loaded."""
    transformers, torch = require("transformers", extra="llm"), require("torch", extra="llm")
    with torch.device("meta"):
        model = transformers.AutoModelForSequenceClassification.from_config(
            _config(transformers, folder, num_labels, overrides)
        )
    trainable = freeze(model, embeddings=freeze_embeddings, layers=freeze_layers)
    return sum(parameter.numel() for parameter in model.parameters()), trainable


def freeze(model: Any, *, embeddings: bool, layers: int) -> int:
    """Keep the embeddings, and this many of the lowest layers, as they are. Returns the trainable parameters.

    Raises:
        ValueError: more layers than there are.
    """
    if embeddings:
        part = getattr(model.base_model, "embeddings", None) or model.get_input_embeddings()
        part.requires_grad_(False)
    depth = model.config.num_hidden_layers
    if layers > depth:
        raise ValueError(f"freeze_layers is {layers}, and the model has {depth} layers; freeze {depth} at most")
    for name, parameter in model.named_parameters():
        found = _LAYER.search(name)
        if found and int(found[1]) < layers:
            parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def parameter_groups(model: Any, *, learning_rate: float, decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Group trainable parameters by depth for an optimizer, the head fastest; vectors (biases, norms) without decay.

    Args:
        model: of transformers; its layers are known by their names (``encoder.layer.3.``, ``layers.3.``).
        learning_rate: of the head.
        decay: a layer learns at this share of the rate of the one above it, the embeddings below the lowest layer.
        weight_decay: of matrices.
    """
    depth = model.config.num_hidden_layers
    body = f"{model.base_model_prefix}."
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found = _LAYER.search(name)
        below = depth - int(found[1]) if found else depth + 1 if name.startswith(body) and "pooler" not in name else 0
        matrix = parameter.ndim > 1
        group = groups.setdefault(
            (below, matrix),
            {"params": [], "lr": learning_rate * decay**below, "weight_decay": weight_decay if matrix else 0.0},
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _config(transformers: Any, folder: Path, num_labels: int, overrides: Mapping[str, Any]) -> Any:
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=num_labels)
    if unknown := [name for name in overrides if not hasattr(config, name)]:
        raise ValueError(f"config_overrides name {unknown}, which the config of {folder} does not have")
    for name, value in overrides.items():
        setattr(config, name, value)
    return config


def _check_body(folder: Path, prefix: str, info: Mapping[str, Any]) -> None:
    """Only the head may be new, because it is missing or of another number of classes."""
    other_shape = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    new = sorted({*info["missing_keys"], *other_shape})
    lost = [key for key in new if key.startswith(f"{prefix}.") and "pooler" not in key]
    if lost:
        raise ValueError(
            f"{folder} has no weights of the right shape for {len(lost)} tensors of the body, such as "
            f"{', '.join(lost[:4])}: they would be random; check that config.json and the weights belong together"
        )
    if new:
        _logger.info("%s: made anew: %s", folder, ", ".join(new))


def _prepared(model: Any, prepare: PrepareModel) -> Any:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    prepared = prepare(model)
    if prepared is None:
        raise ValueError("prepare_model returned None; return the model")
    found = {name: tuple(tensor.shape) for name, tensor in prepared.state_dict().items()}
    changed = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
    if changed:
        raise ValueError(
            f"prepare_model changed the names or shapes of {len(changed)} weights, such as {', '.join(changed[:4])}: "
            "plain transformers could not load the checkpoints; compile with module.compile(), and keep names in swaps"
        )
    return prepared

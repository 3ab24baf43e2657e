"""What a raw LoRA state dict does not say about itself: its settings, given by the caller or read off shapes and names.

It promises an error where the two contradict each other. It reads no files and knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_keys import listed
from kaggle_utils.models.checkpoint import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["LoraSettings", "guessed_config", "required_layers"]


@dataclass(frozen=True)
class LoraSettings:
    """What a raw state dict does not say about its own LoRA."""

    alpha: float
    """Scale: the update is ``alpha / r`` times B A. No tensor tells it, and a wrong one loads without a complaint."""
    r: int | None = None
    """Rank. None: read from the shapes."""
    target_modules: tuple[str, ...] | None = None
    """Ends of layer names, such as ``("q_proj", "v_proj")``; each layer so named must be in the file. None: the kinds
    of layers that are in the file."""
    layers: tuple[int, ...] | None = None
    """Numbers of the layers that were trained, from 0 (``layers_to_transform`` of peft). None: all; one that is not in
    the file is then an error."""
    use_rslora: bool = False
    """The scale is ``alpha / sqrt(r)`` instead."""

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}, expected a positive number")
        if self.r is not None and self.r < 1:
            raise ValueError(f"r is {self.r}, expected at least 1, or None to read it from the shapes")
        if isinstance(self.target_modules, str):
            raise ValueError(f"target_modules is the text {self.target_modules!r}, expected a tuple of names")
        if self.layers is not None and not _is_numbers(self.layers):
            raise ValueError(f"layers is {self.layers!r}, expected a tuple of numbers from 0, such as (0, 1), or None")


def guessed_config(source: Path, lora: Mapping[str, torch.Tensor], settings: LoraSettings | None) -> Any:
    """Return the ``peft.LoraConfig`` of a raw state dict: alpha as given, the rest from shapes and names.

    Args:
        source: where it came from, for messages.
        lora: ``<layer>.lora_A.weight`` and the like.
        settings: what the caller knows.

    Raises:
        ValueError: no settings.
        CheckpointError: settings that the tensors contradict, or tensors that need more of them.
    """
    if settings is None:
        raise ValueError(
            f"{source} is a bare state dict: it does not say its alpha, and a wrong one would load without complaint; "
            'give lora={"alpha": ...} (read_adapter: settings=LoraSettings(alpha=...)) as it was trained, or put its '
            "adapter_config.json beside it"
        )
    ranks = {name.partition(".lora_")[0]: t.shape[0] for name, t in lora.items() if name.endswith(".lora_A.weight")}
    problems = []
    if not ranks:
        problems.append("it holds no lora_A tensors")
    kinds = {re.sub(r".*\.(lora_\w+).*", r"\1", name) for name in lora} - {"lora_A", "lora_B"}
    if kinds:
        problems.append(f"it holds {', '.join(sorted(kinds))} tensors, which need an adapter_config.json beside it")
    wrong = [f"{layer} has {rank}" for layer, rank in ranks.items() if settings.r not in (None, rank)]
    if wrong:
        problems.append(f"r is given as {settings.r}, but the rank of {listed(wrong)}")
    if outside := [n for n in ranks if settings.layers is not None and _number(n) not in (None, *settings.layers)]:
        problems.append(f"layers is given as {tuple(settings.layers or ())}, but it holds {listed(sorted(outside))}")
    if problems:
        raise CheckpointError(source, problems)
    base = settings.r or max(ranks.values())
    others = {f"^{re.escape(layer)}$": rank for layer, rank in ranks.items() if rank != base}
    return require("peft", extra="llm").LoraConfig(
        r=base,
        lora_alpha=settings.alpha,
        target_modules=list(settings.target_modules or sorted(ranks)),
        layers_to_transform=list(settings.layers) if settings.target_modules and settings.layers is not None else None,
        rank_pattern=others,
        use_rslora=settings.use_rslora,
        inference_mode=True,
    )


def required_layers(lora: Mapping[str, torch.Tensor], settings: LoraSettings | None) -> tuple[str, ...]:
    """One expression for each kind of layer in a raw state dict, matching its like in every layer that was trained.

    >>> required_layers({"model.layers.1.mlp.fc1.lora_A.weight": None}, LoraSettings(alpha=8, layers=(1, 2)))
    ('model\\\\.layers\\\\.(?:1|2)\\\\.mlp\\\\.fc1',)
    """
    chosen = settings.layers if settings is not None else None
    number = r"\d+" if chosen is None else f"(?:{'|'.join(map(str, chosen))})"
    patterns = set()
    for name in lora:
        parts = name.partition(".lora_")[0].split(".")
        first = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        kinds = [
            number if i == first else r"\d+" if part.isdigit() else re.escape(part) for i, part in enumerate(parts)
        ]
        patterns.add(r"\.".join(kinds))
    return tuple(sorted(patterns))


def _number(layer: str) -> int | None:
    """Number of the layer that a module belongs to.

    >>> _number("model.layers.12.mlp.up_proj"), _number("score")
    (12, None)
    """
    return next((int(part) for part in layer.split(".") if part.isdigit()), None)


def _is_numbers(values: Any) -> bool:
    return isinstance(values, (tuple, list, range)) and all(isinstance(v, int) and v >= 0 for v in values)

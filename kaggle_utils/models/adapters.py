"""LoRA adapters of sequence classifiers, from the two kinds of files that competitions pass around.

A peft folder (``adapter_config.json`` and its weights), or a raw state dict: what ``torch.save`` made of the
``lora_A``, ``lora_B`` and score tensors, whose settings lie nowhere and must be given. It promises everything that is
wrong with such a file at once, without a model, and unpickles no objects (``weights_only=True``). How an adapter gets
onto a model is the matter of ``adapter_fitting.py``.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_keys import AdapterKeyError, lies_in, listed, split_adapter_keys
from kaggle_utils.models.checkpoint import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["Adapter", "LoraSettings", "read_adapter"]

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_NESTED = ("state_dict", "model_state_dict", "model")
_HEADS = ("score", "classifier", "pooler")
_NEEDED = f"an adapter is a folder with {_CONFIG} and {_WEIGHTS[0]}, or a .safetensors, .bin, .pth or .pt file"


@dataclass(frozen=True)
class LoraSettings:
    """What a raw state dict does not say about its own LoRA."""

    alpha: float
    """Scale: the update is ``alpha / r`` times B A. No tensor tells it, and a wrong one loads without a complaint."""
    r: int | None = None
    """Rank. None: read from the shapes."""
    target_modules: tuple[str, ...] | None = None
    """Ends of layer names, such as ``("q_proj", "v_proj")``; each layer so named must be in the file. None: the layers
    that are in the file."""
    use_rslora: bool = False
    """The scale is ``alpha / sqrt(r)`` instead."""

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}, expected a positive number")
        if self.r is not None and self.r < 1:
            raise ValueError(f"r is {self.r}, expected at least 1, or None to read it from the shapes")
        if isinstance(self.target_modules, str):
            raise ValueError(f"target_modules is the text {self.target_modules!r}, expected a tuple of names")


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory, its names brought into one form."""

    source: Path
    """Where it came from."""
    config: Any
    """A ``peft.LoraConfig`` without modules to save: those are in :attr:`modules`."""
    lora: Mapping[str, torch.Tensor]
    """``<layer>.lora_A.weight`` and the like, by the layer's name in the base model."""
    modules: Mapping[str, torch.Tensor]
    """Whole parameters that it brings, by name: the score head above all."""
    saved_modules: tuple[str, ...]
    """Modules that its settings say it brings."""

    @property
    def rank(self) -> int:
        """Largest rank of its layers."""
        return max((t.shape[0] for name, t in self.lora.items() if ".lora_A." in name), default=0)

    @property
    def layers(self) -> list[str]:
        """Names of the layers that it changes."""
        return sorted({name.partition(".lora_")[0] for name in self.lora})

    @property
    def num_labels(self) -> int | None:
        """Outputs of the head that it brings; None when it brings none."""
        heads = [t for name, t in self.modules.items() if name.split(".")[0] in ("score", "classifier") and t.ndim == 2]
        return heads[-1].shape[0] if heads else None

    def summary(self) -> str:
        """What it changes, in one line."""
        kinds: dict[str, int] = {}
        for layer in self.layers:
            kinds[layer.rpartition(".")[2]] = kinds.get(layer.rpartition(".")[2], 0) + 1
        where = ", ".join(f"{kind} x {count}" for kind, count in sorted(kinds.items()))
        brought = f"; brings {', '.join(sorted(self.modules))}" if self.modules else ""
        return f"{self.source.name}: LoRA of rank {self.rank}, alpha {self.config.lora_alpha:g}, on {where}{brought}"


def read_adapter(path: str | os.PathLike[str], *, settings: LoraSettings | Mapping[str, Any] | None = None) -> Adapter:
    """Read the adapter at ``path`` without a model.

    Args:
        path: a peft folder, or a file with a raw state dict.
        settings: for a raw state dict; a mapping holds the fields of :class:`LoraSettings`. An ``adapter_config.json``
            beside the file serves too. A peft folder has settings of its own, and none may be given.

    Raises:
        FileNotFoundError: nothing there.
        CheckpointError: not an adapter, or one that is none of LoRA, or settings that do not fit: all problems at once.
        ValueError: settings missing or not wanted.
    """
    source = Path(path).expanduser()
    if not source.exists():
        near = next(parent for parent in source.absolute().parents if parent.is_dir())
        there = ", ".join(sorted(p.name for p in near.iterdir())[:20]) or "nothing"
        raise FileNotFoundError(f"no adapter at {str(path)!r}; {_NEEDED}. In {near} there is: {there}")
    if isinstance(settings, Mapping):
        settings = LoraSettings(**settings)
    file, config_file = _files_of(source)
    if settings is not None and config_file is not None:
        raise ValueError(f"{config_file} already holds the LoRA settings of {source}; do not give {settings} as well")
    tensors = _read_tensors(file)
    try:
        lora, modules = split_adapter_keys(tensors)
    except AdapterKeyError as error:
        raise CheckpointError(source, error.problems) from None
    if config_file is not None:
        config, saved = _peft_config(config_file)
    else:
        config, saved = _guessed_config(source, lora, settings), ()
    adapter = Adapter(source, config, lora, modules, saved)
    foreign = [name for name in modules if name.split(".")[0] not in (*_HEADS, *saved) and not lies_in(name, saved)]
    if foreign:
        problem = f"{len(foreign)} tensors belong to the base model, not to an adapter: {listed(foreign)}"
        advice = "save only the lora_ and score tensors, or give the folder as the model"
        raise CheckpointError(source, [problem, advice])
    return adapter


def _files_of(source: Path) -> tuple[Path, Path | None]:
    """The file with the tensors, and the one with the settings if there is one."""
    if source.is_file():
        beside = source.with_name(_CONFIG)
        return source, beside if beside.is_file() else None
    found = next((source / name for name in _WEIGHTS if (source / name).is_file()), None)
    problems = [] if found else [f"no weights: expected {' or '.join(_WEIGHTS)}"]
    if not (source / _CONFIG).is_file():
        problems.append(f"no {_CONFIG}")
    if problems:
        there = ", ".join(sorted(p.name for p in source.iterdir())[:20]) or "nothing"
        raise CheckpointError(source, [*problems, f"there is: {there}; {_NEEDED}"])
    return found, source / _CONFIG


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    torch = require("torch", extra="llm")
    try:
        if file.suffix == ".safetensors":
            content = require("safetensors.torch", extra="llm").load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        advice = "save it again as safetensors, or as a plain dict of tensors, where you trust its maker"
        problem = f"it is no dict of tensors, and pickled objects are refused: {error}"
        raise CheckpointError(file, [problem, advice]) from error
    except Exception as error:  # safetensors, zip and end-of-file errors have no common class
        raise CheckpointError(file, [f"it cannot be read: {type(error).__name__}: {error}", _NEEDED]) from error
    while isinstance(content, dict) and (key := next((k for k in _NESTED if isinstance(content.get(k), dict)), None)):
        content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(file, [f"it holds a {type(content).__name__}, expected a dict of tensors"])
    odd = [f"{key!r} ({type(value).__name__})" for key, value in content.items()
           if not isinstance(key, str) or not isinstance(value, torch.Tensor)]  # fmt: skip
    if odd:
        raise CheckpointError(file, [f"{len(odd)} entries are no tensors: {listed(odd)}"])
    return content


def _peft_config(file: Path) -> tuple[Any, tuple[str, ...]]:
    """The LoRA settings of a peft folder, and the modules that they say were saved whole."""
    peft = require("peft", extra="llm")
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("peft_type")
        if kind != "LORA":
            raise ValueError(f"peft_type is {kind!r}; only LORA adapters can be loaded")
        config = peft.LoraConfig.from_pretrained(os.fspath(file.parent))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(file.parent, [f"{_CONFIG}: {error}"]) from error
    saved = tuple(config.modules_to_save or ())
    # Saved modules are filled here, not by peft, whose wrapper would hide the score head from the packed classifier.
    return replace(config, modules_to_save=None, task_type=None, inference_mode=True), saved


def _guessed_config(source: Path, lora: Mapping[str, torch.Tensor], settings: LoraSettings | None) -> Any:
    """The settings of a raw state dict: alpha as given, the rest from shapes and names."""
    if settings is None:
        raise ValueError(
            f"{source} is a bare state dict: it does not say its alpha, and a wrong one would load without complaint; "
            f"give settings=LoraSettings(alpha=...) as it was trained, or put its {_CONFIG} beside it"
        )
    ranks = {name.partition(".lora_")[0]: t.shape[0] for name, t in lora.items() if name.endswith(".lora_A.weight")}
    problems = []
    if not ranks:
        problems.append("it holds no lora_A tensors")
    kinds = {re.sub(r".*\.(lora_\w+).*", r"\1", name) for name in lora} - {"lora_A", "lora_B"}
    if kinds:
        problems.append(f"it holds {', '.join(sorted(kinds))} tensors, which need an {_CONFIG} beside it")
    wrong = [f"{layer} has {rank}" for layer, rank in ranks.items() if settings.r not in (None, rank)]
    if wrong:
        problems.append(f"r is given as {settings.r}, but the rank of {listed(wrong)}")
    if problems:
        raise CheckpointError(source, problems)
    base = settings.r or max(ranks.values())
    others = {f"^{re.escape(layer)}$": rank for layer, rank in ranks.items() if rank != base}
    return require("peft", extra="llm").LoraConfig(
        r=base,
        lora_alpha=settings.alpha,
        target_modules=list(settings.target_modules or sorted(ranks)),
        rank_pattern=others,
        use_rslora=settings.use_rslora,
        inference_mode=True,
    )

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
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_keys import AdapterKeyError, lies_in, listed, split_adapter_keys
from kaggle_utils.models.checkpoint import CheckpointError
from kaggle_utils.models.raw_lora import LoraSettings, guessed_config, required_layers

if TYPE_CHECKING:
    import torch

__all__ = ["Adapter", "read_adapter"]

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_NESTED = ("state_dict", "model_state_dict", "model")
_HEADS = ("score", "classifier", "pooler")
_NEEDED = f"an adapter is a folder with {_CONFIG} and {_WEIGHTS[0]}, or a .safetensors, .bin, .pth or .pt file"


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
    required: tuple[str, ...] = ()
    """Regular expressions for names of layers that must all be in it, where its settings do not name them."""

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
        CheckpointError: not an adapter, or one that is none of LoRA, or settings that do not fit, or numbers that are
            not finite: all problems at once.
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
        required: tuple[str, ...] = ()
    else:
        config, saved = guessed_config(source, lora, settings), ()
        required = required_layers(lora, settings)
    adapter = Adapter(source, config, lora, modules, saved, required)
    if problems := _content_problems(adapter):
        raise CheckpointError(source, problems)
    return adapter


def _content_problems(adapter: Adapter) -> list[str]:
    """Tensors that no adapter has, and numbers that are not finite."""
    problems, saved = [], adapter.saved_modules
    foreign = [n for n in adapter.modules if n.split(".")[0] not in (*_HEADS, *saved) and not lies_in(n, saved)]
    if foreign:
        problems.append(f"{len(foreign)} tensors belong to the base model, not to an adapter: {listed(foreign)}")
        if (bias := getattr(adapter.config, "bias", "none")) != "none":
            why = f"its settings say bias={bias!r}: biases of the base model were trained too, and are not loaded; "
            problems.append(why + "merge it by peft where it was trained, and give the merged folder as the model")
        else:
            problems.append("save only the lora_ and score tensors, or give the folder as the model")
    tensors = {**adapter.lora, **adapter.modules}
    damaged = [name for name, t in tensors.items() if t.is_floating_point() and not t.float().isfinite().all()]
    if damaged:
        problems.append(f"{len(damaged)} tensors hold numbers that are not finite: {listed(damaged)}")
        problems.append("copy it again, or take an earlier state of its training")
    return problems


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

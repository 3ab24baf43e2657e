"""A model folder on disk, looked at before anything is loaded from it.

It promises to find everything that is missing or cut off in one pass, reading headers only. It does not know what the
weights are worth, and it never unpickles anything.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_utils.models.provenance import PROVENANCE, disagreements, is_hub_id

__all__ = ["Checkpoint", "CheckpointError", "check_loaded_keys", "companion_files", "has_tokenizer", "open_checkpoint"]

_NEEDED = "a model folder holds config.json, tokenizer files and model*.safetensors (or pytorch_model*.bin)"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spm.model", "vocab.json", "vocab.txt", "tekken.json")
_LEGAL_FILES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "README")


class CheckpointError(ValueError):
    """Everything wrong with a model folder, reported at once."""

    def __init__(self, folder: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{folder} cannot be loaded:\n" + "\n".join(f"  - {p}" for p in self.problems))


@dataclass(frozen=True)
class Checkpoint:
    """A folder that can be loaded."""

    folder: Path
    """Where it lies."""
    config: Mapping[str, Any]
    """Its ``config.json``."""
    weight_files: tuple[Path, ...]
    """Its weights, all of one format."""

    @property
    def safetensors(self) -> bool:
        """Whether the weights are safetensors (else .bin, which is read with ``weights_only=True``)."""
        return self.weight_files[0].suffix == ".safetensors"

    @property
    def weight_bytes(self) -> int:
        """Size of the weights, in bytes."""
        return sum(path.stat().st_size for path in self.weight_files)

    @property
    def config_sha256(self) -> str:
        """Digest of ``config.json`` as it lies on disk."""
        return hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()


def open_checkpoint(path: str | os.PathLike[str], *, tokenizer: bool = True) -> Checkpoint:
    """Check the folder at ``path`` and return what is in it.

    Args:
        path: a local folder.
        tokenizer: its files have to be there; False where it comes from elsewhere.

    Raises:
        FileNotFoundError: nothing there; the message lists what lies in the nearest folder that exists.
        CheckpointError: a folder that is not a whole model: all problems at once.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(_missing_folder(path, folder))
    problems: list[str] = []
    config = _read_config(folder, problems)
    if tokenizer and not has_tokenizer(folder):
        problems.append(f"no tokenizer: expected one of {', '.join(_TOKENIZER_FILES)}")
    weights = _find_weights(folder, problems)
    problems += [problem for file in weights if (problem := _damage(file))]
    problems = problems or disagreements(folder, config, weights)
    if problems:
        problems.append(f"there is: {_listing(folder)}; {_NEEDED}")
        raise CheckpointError(folder, problems)
    return Checkpoint(folder, config, tuple(weights))


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a tokenizer lies in the folder."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def companion_files(names: Sequence[str]) -> list[str]:
    """Choose, of a model folder's file names, those that go with the weights: settings, tokenizer, licence.

    Weights, their indices, code, and everything in subfolders stay out, except additional chat templates.

    >>> companion_files(["config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.model",
    ...                  "LICENSE", "original/params.json", "modeling.py", "chat_template.jinja"])
    ['config.json', 'tokenizer.model', 'LICENSE', 'chat_template.jinja']
    """
    chosen = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in ("", "additional_chat_templates") or base.endswith(".index.json") or base.startswith("."):
            continue
        upper = base.upper()
        if base == PROVENANCE:  # it speaks of the weights that it was written with
            continue
        if base.endswith((".json", ".txt", ".model", ".jinja", ".tiktoken")) or upper.startswith(_LEGAL_FILES):
            chosen.append(name)
    return chosen


def check_loaded_keys(folder: Path, info: Mapping[str, Any], *, tied: Sequence[str] = ()) -> None:
    """Raise when a load left parameters of the model or tensors of the checkpoint over.

    Args:
        folder: where the weights came from (for the message).
        info: what ``from_pretrained(..., output_loading_info=True)`` returned.
        tied: parameters that share another one's storage, and so need no tensor of their own.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape.
    """
    meanings = {
        "missing_keys": "in the model but not in the weights (they would stay random)",
        "unexpected_keys": "in the weights but not in the model (they would be dropped)",
        "mismatched_keys": "of another shape in the weights than in the model",
        "error_msgs": "errors",
    }
    problems = []
    for kind, meaning in meanings.items():
        keys = sorted(str(key) for key in info.get(kind) or () if key not in tied)
        if keys:
            more = f" and {len(keys) - 12} more" if len(keys) > 12 else ""
            problems.append(f"{len(keys)} {meaning}: {', '.join(keys[:12])}{more}")
    if problems:
        problems.append("check that config.json and the weights belong to the same model and release")
        raise CheckpointError(folder, problems)


def _missing_folder(path: str | os.PathLike[str], folder: Path) -> str:
    nearest = next(parent for parent in folder.absolute().parents if parent.is_dir())
    text = f"no model folder at {str(path)!r}; {_NEEDED}. In {nearest} there is: {_listing(nearest)}. "
    if is_hub_id(os.fspath(path)):
        return text + (
            f"If {str(path)!r} is the name of a model on the hub, fetch it first with "
            "kaggle_utils.models.download.download_model and pass the folder it returns"
        )
    return (
        text + "Attach the model as a Kaggle input, or correct the path (environment.input_dir lists what is attached)"
    )


def _listing(folder: Path, limit: int = 20) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "nothing"


def _read_config(folder: Path, problems: list[str]) -> Mapping[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = (
            ": this is a LoRA adapter; give the folder of its base model here, and this one as adapter= of "
            "load_sequence_classifier or folder_judge (or put it onto a causal model with peft)"
        ) * adapter
        problems.append(f"no config.json{hint}")
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"config.json is not JSON: {error}")
        return {}
    if not isinstance(config, dict):
        problems.append(f"config.json holds a {type(config).__name__}, expected an object")
        return {}
    return config


def _find_weights(folder: Path, problems: list[str]) -> list[Path]:
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{suffix}.index.json"
        single = folder / f"{stem}.{suffix}"
        if single.is_file():
            return [single]
        if index.is_file():
            return _indexed_files(index, problems)
    problems.append("no weights: expected model.safetensors, its index with shards, or pytorch_model.bin")
    return []


def _indexed_files(index: Path, problems: list[str]) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"{index.name} is no weight index: {type(error).__name__}: {error}")
        return []
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        problems.append(f"{len(missing)} of {len(names)} shards are missing: {', '.join(missing[:8])}")
    return [index.parent / name for name in names if name not in missing]


def _damage(file: Path) -> str | None:
    """Say what is wrong with a safetensors file, from its header and its size alone."""
    if file.suffix != ".safetensors":
        return None
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size:
                raise ValueError(f"its header alone would take {length} bytes")
            header = json.loads(stream.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return f"{file.name} ({size} bytes) is no safetensors file, perhaps a pointer or a cut copy: {error}"
    if size != 8 + length + end:
        return f"{file.name} has {size} bytes, its header promises {8 + length + end}: copy or download it again"
    return None

"""Save a trained policy and load it again: ``policy.safetensors`` for the numbers, ``policy.json`` for the words.

The folder stands for itself: it holds the objects, the questions and the table that the policy was trained on, so that
it plays without the knowledge table of that day. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.knowledge.cache_folder import write_atomically
from kaggle_utils.q20.policy.channel import AnswerChannel
from kaggle_utils.q20.policy.hu2018 import PaperPolicy, PaperTable
from kaggle_utils.q20.policy.residual import ResidualPolicy

__all__ = ["SavedPolicy", "load_policy", "save_policy"]

_FORMAT, _VERSION = "kaggle_utils.q20.policy", 1
_TENSORS, _WORDS = "policy.safetensors", "policy.json"


@dataclass(frozen=True)
class SavedPolicy:
    """A policy and what its rows and columns mean."""

    policy: ResidualPolicy | PaperPolicy
    objects: tuple[str, ...]
    """Words, [N]."""
    questions: tuple[str, ...]
    """Texts, [Q]."""

    def __post_init__(self) -> None:
        shape = len(self.objects), len(self.questions)
        if tuple(self.policy.size) != shape:
            raise ValueError(f"the policy is for {self.policy.size} objects and questions, the names are {shape}")


def save_policy(
    policy: ResidualPolicy | PaperPolicy,
    folder: str | os.PathLike[str],
    *,
    objects: Sequence[str],
    questions: Sequence[str],
) -> Path:
    """Write ``policy`` into ``folder`` (made if absent) and return it.

    Args:
        policy: of either kind.
        folder: an older policy in it is replaced; the JSON comes last, so an interrupted save is found at loading.
        objects: the words of the table's rows.
        questions: the texts of the table's columns.
    """
    saved = SavedPolicy(policy, tuple(objects), tuple(questions))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(array) for name, array in _arrays(policy).items()}
    content = require("safetensors.numpy", extra="llm").save(tensors)
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": "residual" if isinstance(policy, ResidualPolicy) else "hu2018",
        "scale": getattr(policy, "scale", None),
        "sha256": hashlib.sha256(content).hexdigest(),
        "objects": saved.objects,
        "questions": saved.questions,
    }
    write_atomically(folder / _TENSORS, [content])
    write_atomically(folder / _WORDS, [json.dumps(header, ensure_ascii=False, indent=0).encode()])
    return folder


def load_policy(folder: str | os.PathLike[str], *, device: str = "cpu") -> SavedPolicy:
    """Read what ``save_policy`` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are of another format or version, damaged, or not of one save.
    """
    folder = Path(folder)
    missing = [name for name in (_WORDS, _TENSORS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"no policy in {folder}: {', '.join(missing)} missing; save_policy writes both")
    try:
        header = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / _WORDS} is not JSON ({error}); save the policy again") from error
    content = (folder / _TENSORS).read_bytes()
    problem = _problem(header, content)
    if problem:
        raise ValueError(f"{folder} holds no policy that this version can read: {problem}; save it again")
    arrays = require("safetensors.numpy", extra="llm").load(content)
    policy = _residual(arrays, device) if header["kind"] == "residual" else _paper(arrays, header["scale"], device)
    return SavedPolicy(policy, tuple(header["objects"]), tuple(header["questions"]))


def _arrays(policy: ResidualPolicy | PaperPolicy) -> dict[str, np.ndarray]:
    def numpy(tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy()

    if isinstance(policy, ResidualPolicy):
        names = ("beta", "bias", "directions", "weight")
        rates = dict(zip(("false_yes", "false_no", "unsure"), policy.channel.arrays(), strict=True))
        learned = {name: numpy(getattr(policy, name)) for name in names}
        return {**learned, **rates, "theta": policy.theta, "prior": policy.prior}
    parts = (*policy.policy, *policy.value)
    names = ("policy_weight", "policy_bias", "value_weight", "value_bias")
    table = {"right": policy.table.right, "wrong": policy.table.wrong, "prior": numpy(policy.prior)}
    return {**table, **{name: numpy(part) for name, part in zip(names, parts, strict=True)}}


def _residual(arrays: dict[str, np.ndarray], device: str) -> ResidualPolicy:
    torch = require("torch", extra="llm")
    channel = AnswerChannel(arrays["false_yes"], arrays["false_no"], arrays["unsure"])
    policy = ResidualPolicy(
        arrays["theta"], prior=arrays["prior"], channel=channel, rank=arrays["weight"].shape[0], device=device
    )
    for name in ("beta", "bias", "directions", "weight"):
        setattr(policy, name, torch.tensor(arrays[name], device=device))
    return policy


def _paper(arrays: dict[str, np.ndarray], scale: str, device: str) -> PaperPolicy:
    torch = require("torch", extra="llm")
    table = PaperTable(arrays["right"], arrays["wrong"])
    policy = PaperPolicy(table, prior=arrays["prior"], scale=scale, device=device)
    for name in ("policy", "value"):
        pair = tuple(torch.tensor(arrays[f"{name}_{part}"], device=device) for part in ("weight", "bias"))
        setattr(policy, name, pair)
    return policy


def _problem(header: object, content: bytes) -> str:
    """What is wrong with the files, "" if nothing is."""
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        return f"{_WORDS} is not of the format {_FORMAT!r}"
    if header.get("version") != _VERSION:
        return f"version {header.get('version')!r}, expected {_VERSION}"
    if header.get("kind") not in ("residual", "hu2018"):
        return f"unknown kind {header.get('kind')!r}"
    if header.get("sha256") != hashlib.sha256(content).hexdigest():
        return f"{_TENSORS} is damaged or of another save (sha256 differs)"
    names = (header.get("objects"), header.get("questions"))
    if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in names):
        return f"{_WORDS} names no objects or questions"
    return ""

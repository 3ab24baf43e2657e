"""What a judge from a model folder is asked to be, checked where it is named and not in a worker minutes later.

It promises all wrong settings at once, in the words of ``folder_judge``, and that an adapter can be read with the
settings that were given for it. It reads the adapter's files, never the model's weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from kaggle_utils.models.adapters import read_adapter
from kaggle_utils.models.merging import MERGES
from kaggle_utils.models.quantization import QUANTIZATIONS
from kaggle_utils.models.raw_lora import LoraSettings

__all__ = ["check_judge"]

_logger = logging.getLogger(__name__)

_CONFIG = "adapter_config.json"


def check_judge(name: str, model: Mapping[str, Any]) -> None:
    """Raise where a judge cannot be what its settings say. Reads its adapter once (some 100 MB), if it has one.

    Args:
        name: the judge's.
        model: keyword arguments of :func:`~kaggle_utils.inference.judges.packed_scorer`.

    Raises:
        ValueError: settings with unknown or contradicting values, all named.
        FileNotFoundError: no adapter where one should be.
        CheckpointError: an adapter that cannot be one of LoRA.
    """
    problems = _of_settings(model) + _of_lora(model["adapter"], model["lora"])
    if not problems and model["adapter"] is not None:
        adapter = read_adapter(model["adapter"], settings=model["lora"])
        _logger.info("%s: %s", name, adapter.summary())
        if adapter.num_labels not in (None, model["num_labels"]):
            problems.append(f"its adapter's head has {adapter.num_labels} outputs, num_labels is {model['num_labels']}")
    if problems:
        raise ValueError(f"judge {name!r} cannot be made:\n" + "\n".join(f"  - {p}" for p in problems))


def _of_settings(model: Mapping[str, Any]) -> list[str]:
    problems = []
    if model["quantization"] not in (*QUANTIZATIONS, "fp8"):
        expected = ", ".join((*QUANTIZATIONS, "fp8"))
        problems.append(f"quantization is {model['quantization']!r}, expected one of {expected}")
    if model["merge"] not in MERGES:
        problems.append(f"unknown merge policy {model['merge']!r}; expected one of {', '.join(MERGES)}")
    if not (isinstance(model["compile"], bool) or model["compile"] == "auto"):
        problems.append(f"compile is {model['compile']!r}, expected True, False or 'auto'")
    for key in ("max_tokens", "num_labels"):
        value = model[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(f"{key} is {value!r}, expected a whole number of at least 1")
    return problems


def _of_lora(adapter: str | None, lora: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with ``lora=``, which only a bare state dict needs."""
    if adapter is None:
        return [f"lora is {dict(lora)}, but there is no adapter"] if lora else []
    path = Path(adapter).expanduser()
    config = path / _CONFIG if path.is_dir() else path.with_name(_CONFIG)
    if config.is_file():
        return [f"{config} already holds the LoRA settings; leave lora={dict(lora)} out"] if lora else []
    if not path.is_file():  # read_adapter says what is there instead
        return []
    if not lora:
        return [
            f"{path} is a bare state dict: it does not say its alpha, and a wrong one would load without complaint; "
            f'give lora={{"alpha": ...}} as it was trained, or put its {_CONFIG} beside it'
        ]
    return _of_fields(lora)


def _of_fields(lora: Mapping[str, Any]) -> list[str]:
    known = [field.name for field in fields(LoraSettings)]
    problems = []
    if unknown := [key for key in lora if key not in known]:
        problems.append(f"lora has unknown settings {unknown}; expected some of {', '.join(known)}")
    if "alpha" not in lora:
        problems.append(f'lora is {dict(lora)}, without the scale; give lora={{"alpha": ...}} as it was trained')
    if not problems:
        try:
            LoraSettings(**lora)
        except (TypeError, ValueError) as error:
            problems.append(f"lora is {dict(lora)}: {error}")
    return problems

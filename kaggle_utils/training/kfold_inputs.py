"""What a k-fold run is given: contradictions are refused before anything is trained, and where it trains is chosen.

It promises that all that is wrong is said at once. It trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.models.rooms import device_rooms
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.team import Team, join_team, training_device, world_size

__all__ = ["TrainingPlace", "check_inputs", "training_place"]


@dataclass(frozen=True)
class TrainingPlace:
    """Where folds are trained."""

    devices: list[str]
    """A worker each; under a launcher this process's own."""
    precision: str
    """That all of them compute in: bf16, fp16 or no."""
    team: Team
    """Processes that train every fold together."""


def training_place(devices: Sequence[str] | None, settings: KFoldSettings) -> TrainingPlace:
    """Choose devices and precision; under a launcher (torchrun, accelerate launch) also connect the processes.

    Raises:
        ValueError: devices that are not here, or not this process's under a launcher.
    """
    if world_size() == 1:
        rooms = device_rooms(devices)
        names = [room.name for room in rooms]
        capabilities = [room.capability for room in rooms]
        if any(capability is None for capability in capabilities):
            automatic = "no"
        else:
            automatic = "bf16" if all(capability >= (8, 0) for capability in capabilities) else "fp16"  # type: ignore[operator]
        return TrainingPlace(names, _chosen(settings, automatic), Team(device=names[0]))
    own, automatic = training_device(cpu=devices is not None and list(devices) == ["cpu"])
    if devices is not None and list(devices) not in (["cpu"], ["cuda"], [own]):
        raise ValueError(
            f"devices is {list(devices)!r}, and a launcher started {world_size()} processes, each with a device of its "
            f"own (this one: {own}); leave devices out, or start plain python to give each device folds of its own"
        )
    team = join_team(own)
    if len(kinds := set(team.gather(automatic))) > 1:
        automatic = "no" if "no" in kinds else "fp16"  # cards of several ages
    return TrainingPlace([own], _chosen(settings, automatic), team)


def _chosen(settings: KFoldSettings, automatic: str) -> str:
    return automatic if settings.mixed_precision == "auto" else settings.mixed_precision


def check_inputs(
    rows: TokenRows, labels: np.ndarray, assigned: np.ndarray, settings: KFoldSettings, ids: Sequence[Any],
    num_labels: int | None, swapped: TokenRows | None, tests: int, test_ids: Sequence[Any],
) -> None:  # fmt: skip
    """Refuse rows, labels, folds, names and settings that contradict each other.

    Raises:
        ValueError: all that is wrong.
    """
    count, problems = len(rows), []
    for name, values in (("labels", labels), ("assigned", assigned)):
        if values.shape != (count,) or values.dtype.kind not in "iu" or (count and values.min() < 0):
            lowest = f", the lowest {values.min()}" if values.size and values.dtype.kind in "iuf" else ""
            problems.append(
                f"{name} is {values.dtype} of shape {values.shape}{lowest}; expected integers of at least 0, one for "
                f"each of the {count} rows (leave rows without a label out)"
            )
    if not problems:
        there = np.unique(assigned).tolist()
        if len(there) < 2:
            problems.append(f"assigned has fold {there} only; expected at least 2 folds")
        if settings.folds is not None and (absent := sorted(set(settings.folds) - set(there))):
            problems.append(f"settings.folds asks for {absent}; there are {there}")
        if num_labels is not None and count and labels.max() >= num_labels:
            problems.append(f"labels go up to {labels.max()}, and num_labels is {num_labels}")
    for what, names, expected in (("ids", ids, count), ("test_ids", test_ids, tests)):
        if len(names) != expected or len({str(name) for name in names}) < len(names):
            different = len({str(name) for name in names})
            problems.append(f"{len(names)} {what} ({different} different) for {expected} rows; expected one for each")
    if settings.swap_augmentation and (swapped is None or len(swapped) != count):
        problems.append(
            f"swap_augmentation needs swapped_rows, as many as rows ({count}); there are "
            f"{'none' if swapped is None else len(swapped)}: PairTokenizer.encode(pairs, swapped=True) makes them"
        )
    if problems:
        raise ValueError("nothing was trained:\n" + "\n".join(f"  - {p}" for p in problems))

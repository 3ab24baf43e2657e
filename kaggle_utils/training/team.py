"""Processes that a launcher (torchrun, accelerate launch) started to train together: who writes, and what all agree on.

It promises that what the first process finds, or fails at, every process learns, so that none waits for another that
has ended; and that shares come back in the order of the processes. It does not know what is trained.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require

__all__ = ["Team", "TeamError", "join_team", "prepare_sharding", "seen_in_time", "training_device", "world_size"]

_PATIENCE = timedelta(hours=2)  # shares of prediction differ in time; a process that died is the launcher's to notice
_LAG = 60  # seconds that a shared disk may take to show a file of another host


class TeamError(RuntimeError):
    """Another process failed, or does not do the same."""


@dataclass(frozen=True)
class Team:
    """This process among those that train together; alone where nothing launched several."""

    rank: int = 0
    """Its number; 0 writes."""
    size: int = 1
    """Processes."""
    device: str = "cpu"
    """Of this process: the CPU, or its own GPU."""
    sharded: bool = False
    """Each has a part of the weights (FSDP); else all of them (DDP)."""

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has called it."""
        if self.size > 1:
            self.gather(None)

    def gather(self, value: Any) -> list[Any]:
        """Return the plain (JSON) value of every process, by rank."""
        if self.size == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        return [json.loads(part.tobytes()) for part in self.gather_rows(text)]

    def gather_rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the array of every process, by rank; they may have different numbers of rows."""
        if self.size == 1:
            return [rows]
        torch = require("torch", extra="llm")
        distributed = require("torch.distributed", extra="llm")
        count = torch.tensor([len(rows)], device=self.device)
        counts = [torch.empty_like(count) for _ in range(self.size)]
        distributed.all_gather(counts, count)
        filled = torch.zeros((max(int(each) for each in counts), *rows.shape[1:]),
                             dtype=torch.from_numpy(rows[:0].copy()).dtype, device=self.device)  # fmt: skip
        filled[: len(rows)] = torch.from_numpy(np.array(rows))
        parts = [torch.empty_like(filled) for _ in range(self.size)]
        distributed.all_gather(parts, filled)
        return [part[: int(each)].cpu().numpy() for part, each in zip(parts, counts, strict=True)]

    def first(self, act: Callable[[], Any]) -> Any:
        """Let the first process ``act``, and return its plain (JSON) result in every process.

        Raises:
            TeamError: in the others, where it failed; in the first one what it failed with.
        """
        if self.size == 1:
            return act()
        found: tuple[Any, str | None] = (None, None)
        failure: Exception | None = None
        if self.main:
            try:
                found = (act(), None)
            except Exception as error:  # told to the others first
                failure, found = error, (None, f"{type(error).__name__}: {error}")
        result, problem = self.gather(found)[0]
        if failure is not None:
            raise failure
        if problem is not None:
            raise TeamError(f"the first process failed: {problem}")
        return result

    def check_same(self, what: dict[str, Any]) -> None:
        """Refuse processes that were given different things.

        Raises:
            TeamError: in every process, with the names of what differs.
        """
        given = self.gather({name: json.dumps(value, sort_keys=True) for name, value in what.items()})
        if different := sorted(name for name in what if len({each.get(name) for each in given}) > 1):
            raise TeamError(
                f"the {self.size} processes were given different {', '.join(different)}: every process has to make "
                "the same rows in the same order (give random choices a seed), from the same model"
            )

    def check_shared(self, file: Path) -> None:
        """Make sure that every process sees ``file``, which the first one wrote.

        Raises:
            TeamError: in every process, with the hosts that do not see it.
        """
        hosts = self.gather([os.uname().nodename, seen_in_time(file.is_file)])
        if blind := sorted({host for host, there in hosts if not there}):
            raise TeamError(
                f"{file} is not to be seen on {', '.join(blind)}: several hosts need a folder that all of them share "
                "(NFS or another network disk), under the same path"
            )


def seen_in_time(look: Callable[[], bool]) -> bool:
    """Whether ``look`` finds what another host wrote, as soon as a shared disk may be expected to show it."""
    until = time.monotonic() + _LAG
    while not (seen := look()) and time.monotonic() < until:
        time.sleep(0.5)
    return seen


def world_size() -> int:
    """Processes that train together; 1 unless a launcher such as torchrun says more."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join_team(device: str) -> Team:
    """Connect this process to those that were launched with it; alone without a launcher.

    Args:
        device: of this process, such as ``"cpu"`` or ``"cuda:0"``.

    Raises:
        ValueError: the launcher asks for the first version of FSDP.
    """
    if world_size() == 1:
        return Team(device=device)
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")
    if sharded and (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise ValueError(
            f"the launcher asks for version {version} of FSDP, and version 2 is needed, which keeps names and shapes "
            "of weights: accelerate launch --use_fsdp --fsdp_version 2"
        )
    state = require("accelerate", extra="llm").PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    return Team(state.process_index, state.num_processes, device, sharded)


def prepare_sharding(trainer: Any) -> None:
    """Set a Trainer that has not trained yet right for FSDP; without FSDP nothing changes.

    Whole weights are written, as ordinary model folders, and gradients are summed in float32: accelerate would write
    parts, and round sums and losses to 16 bits.
    """
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    torch = require("torch", extra="llm")
    plugin.state_dict_config = plugin.optim_state_dict_config = None  # else they stay those of another type
    plugin.set_state_dict_type("FULL_STATE_DICT")
    policy = plugin.mixed_precision_policy
    if getattr(policy, "param_dtype", None) is not None:
        plugin.mixed_precision_policy = type(policy)(param_dtype=policy.param_dtype, reduce_dtype=torch.float32)


def training_device(*, cpu: bool = False) -> tuple[str, str]:
    """Return this process's device, and the mixed precision that "auto" means on it.

    Under a launcher such as torchrun the device also becomes the current one.

    Args:
        cpu: take the CPU even where a GPU is; so does ``accelerate launch --cpu``.
    """
    torch = require("torch", extra="llm")
    if cpu or not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1"):
        return "cpu", "no"
    device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    if "LOCAL_RANK" in os.environ:  # some kernels launch on the current device, whatever their tensors say
        torch.cuda.set_device(device)
    return device, "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"

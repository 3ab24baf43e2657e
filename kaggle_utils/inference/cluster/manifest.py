"""What a run over many machines computes, written beside its parts, so that a folder never mixes two runs.

It promises that two runs with the same manifest compute the same rows with the same scorer and cut them into the same
blocks, as far as fingerprints and the inputs' metadata tell. It does not know who computes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kaggle_utils.inference.cluster.blocks import Block, InputFile, cut_blocks
from kaggle_utils.inference.cluster.storage import Folder

__all__ = ["MANIFEST", "Manifest", "MixedRunsError", "claim_folder", "read_manifest"]

MANIFEST = "_run.json"
_VERSION = 1
_SHOWN = 20


class MixedRunsError(ValueError):
    """A folder that holds another run; ``differences`` says where they differ."""

    def __init__(self, folder: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        more = [f"  - and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        super().__init__(
            f"{folder} holds another run; going on would mix the two. What differs:\n"
            + "\n".join([*(f"  - {line}" for line in differences[:_SHOWN]), *more])
            + "\nGive this run another folder, or delete that one"
        )


@dataclass(frozen=True)
class Manifest:
    """What decides a run's rows."""

    task: Mapping[str, Any]
    """Who computes, from which columns; plain values."""
    keep: tuple[str, ...]
    """Columns of the input that the output has too."""
    block_rows: int
    """Rows of a block."""
    inputs: tuple[InputFile, ...]
    """The input's files, in order."""

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.inputs)

    @property
    def digest(self) -> str:
        """Name of the run: 32 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]

    def blocks(self) -> list[Block]:
        """The blocks of the run, in order."""
        return cut_blocks(self.inputs, self.block_rows)

    def to_json(self) -> str:
        """The same text for the same run."""
        content = {
            "version": _VERSION, "task": self.task, "keep": list(self.keep), "block_rows": self.block_rows,
            "inputs": [asdict(file) for file in self.inputs],
        }  # fmt: skip
        return json.dumps(content, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Undo ``to_json``; raises ValueError, KeyError or TypeError where it is something else."""
        content = json.loads(text)
        inputs = tuple(InputFile(**file) for file in content["inputs"])
        return cls(content["task"], tuple(content["keep"]), int(content["block_rows"]), inputs)


def read_manifest(folder: Folder) -> Manifest | None:
    """Return the manifest of the run in a folder; None where there is none.

    Raises:
        ValueError: a damaged manifest.
    """
    content = folder.read(MANIFEST)
    if content is None:
        return None
    try:
        return Manifest.from_json(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder.path(MANIFEST)} is no manifest of a run ({type(error).__name__}: {error}); delete the folder"
        ) from error


def claim_folder(folder: Folder, manifest: Manifest) -> None:
    """Make ``folder`` that of a run, or see that it is.

    Raises:
        MixedRunsError: it holds another run.
        ValueError: it holds parquet files and no manifest.
    """
    there = read_manifest(folder)
    if there is None:
        if strange := [name for name in folder.sizes() if name.endswith(".parquet") and not name.startswith("_")]:
            raise ValueError(
                f"{folder} holds parquet files that no run has written ({', '.join(strange[:5])}); "
                "choose a new or an empty folder for the output"
            )
        folder.write(MANIFEST, manifest.to_json().encode())
    elif there.digest != manifest.digest:
        raise MixedRunsError(str(folder), _differences(json.loads(there.to_json()), json.loads(manifest.to_json())))


def _differences(there: Any, asked: Any) -> list[str]:
    before, now = _flat(there), _flat(asked)
    both = [key for key in now if key in before]
    changed = [f"{key}: was {before[key]!r}, is {now[key]!r}" for key in both if before[key] != now[key]]
    gone = [f"{key}: was {before[key]!r}, is not there any more" for key in before if key not in now]
    new = [f"{key}: is {now[key]!r}, was not there" for key in now if key not in before]
    return changed + gone + new


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else key).items()}
    if isinstance(value, list) and value:
        named = [(item["name"] if isinstance(item, Mapping) and "name" in item else i, item)
                 for i, item in enumerate(value)]  # fmt: skip
        return {k: v for key, item in named for k, v in _flat(item, f"{name}[{key}]").items()}
    return {name: value}

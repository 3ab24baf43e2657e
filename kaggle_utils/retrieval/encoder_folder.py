"""The folder of an encoder: is it one, what is in it, and where it should run.

It promises that nothing is downloaded and no code of the folder is run. It does not know what the vectors are for.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, get_args

from kaggle_utils._optional import require

__all__ = ["Dtype", "checked_folder", "folder_digest", "load_options", "read_config"]

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

_DTYPES = get_args(Dtype)


def checked_folder(folder: str | Path) -> Path:
    """Return ``folder`` as a path.

    Raises:
        FileNotFoundError: it is no folder of a model, so that a hub would be asked for that name.
    """
    path = Path(folder)
    if not any((path / name).is_file() for name in ("config.json", "modules.json")):
        found = sorted(p.name for p in path.iterdir())[:10] if path.is_dir() else []
        there = f"it holds {', '.join(found) or 'nothing'}" if path.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{path} is no encoder: expected a folder with config.json or modules.json, {there}. "
            "Attach the model, or download it first; nothing is fetched here"
        )
    return path


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in file ``name`` of ``folder``, empty where there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    path = folder / name
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, expected an object; copy the model again")
    return content


def folder_digest(folder: Path) -> str:
    """Return 32 hex digits of the names and contents of all files in ``folder``. Reads every byte: about 1 s a GB."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:32]


def load_options(device: str | None, dtype: Dtype = "auto") -> dict[str, Any]:
    """Return what the library is told: device, dtype ("auto": float16 on a GPU, float32 elsewhere), local files only.

    Raises:
        ValueError: another dtype.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(_DTYPES)}")
    torch = require("torch", extra="retrieval")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    chosen = dtype if dtype != "auto" else "float16" if place.startswith("cuda") else "float32"
    return {
        "device": place,
        "local_files_only": True,
        "trust_remote_code": False,
        "model_kwargs": {"dtype": getattr(torch, chosen)},
    }

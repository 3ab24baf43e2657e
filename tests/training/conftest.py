"""The small k-fold run that several tests compare with; all workers of pytest-xdist share it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kfold_model(made_once) -> Path:
    """The folder that its folds begin with."""
    pytest.importorskip("transformers")
    from kfold_case import write_case_model

    return made_once("kfold-model", write_case_model)


@pytest.fixture(scope="session")
def kfold_whole(kfold_model, made_once):
    """What the run that nothing interrupted returned."""
    from kfold_case import run_case

    def run(folder: Path) -> None:
        result = run_case(kfold_model, folder / "run")
        (folder / "returned").write_bytes(pickle.dumps(result))

    return pickle.loads((made_once("kfold-whole", run) / "returned").read_bytes())

"""Run a notebook as it is, on a fixture of Kaggle's folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def run_notebook(root, tmp_path, monkeypatch):
    """``run_notebook(name, attached={input name: folder}) -> (executed notebook, working folder)``; may be repeated."""

    def run(name: str, *, attached: dict[str, Path], timeout: int = 500):
        nbformat = pytest.importorskip("nbformat")
        nbclient = pytest.importorskip("nbclient")
        for folder in ("input", "working", "scratch"):
            (tmp_path / folder).mkdir(exist_ok=True)
            monkeypatch.setenv(f"KAGGLE_UTILS_{folder.upper()}_DIR", str(tmp_path / folder))
        monkeypatch.setenv("PYTHONPATH", str(root))
        for input_name, source in attached.items():
            target = tmp_path / "input" / input_name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_symlink():
                target.symlink_to(source, target_is_directory=True)
        copy = shutil.copy(root / "notebooks" / name, tmp_path / name)
        notebook = nbformat.read(copy, as_version=4)
        nbclient.NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return notebook, tmp_path / "working"

    return run

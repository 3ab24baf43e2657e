"""Run a notebook as it is, on a fixture of Kaggle's folders."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture
def run_notebook(root, tmp_path, monkeypatch):
    """``run_notebook(name, attached={input name: folder}) -> (executed notebook, working folder)``; may be repeated.

    In a Jupyter kernel, or, with ``kernel=False``, by IPython in this process, which has torch and transformers; a
    kernel imports them anew. ``settings`` are lines of the settings' cell, and what a user would write instead.
    """

    def run(name: str, *, attached: dict[str, Path], settings: dict[str, str] | None = None, kernel: bool = True):
        nbformat = pytest.importorskip("nbformat")
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
        _, chosen, *_ = (cell for cell in notebook.cells if cell.cell_type == "code")  # the first installs
        for old, new in (settings or {}).items():
            assert chosen.source.count(old) == 1, f"{name} does not set {old!r}"
            chosen.source = chosen.source.replace(old, new)
        if kernel:
            _run_in_a_kernel(notebook, tmp_path)
        else:
            monkeypatch.chdir(tmp_path)
            _run_here(notebook)
        return notebook, tmp_path / "working"

    return run


def _run_in_a_kernel(notebook, folder: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(folder)}}).execute()


def _run_here(notebook) -> None:
    """Run each cell as a kernel does, and keep what it shows."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from nbformat.v4 import new_output
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            with capture_output() as captured:
                shell.display_trap.hook = sys.displayhook  # it would put its own in the place of capture_output's
                result = shell.run_cell(cell.source)
            result.raise_error()
            cell.outputs = [new_output("stream", name="stdout", text=captured.stdout)]
            cell.outputs += [new_output("display_data", data=shown.data or {}) for shown in captured.outputs]
    finally:
        InteractiveShell.clear_instance()

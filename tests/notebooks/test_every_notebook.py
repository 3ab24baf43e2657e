"""What holds for every notebook: it opens, lints, is short, is calls only, and begins with the same cell."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def read(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def code_cells(name):
    return ["".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == "code"]


def test_there_is_one_for_each_competition_and_a_study():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_opens_and_holds_no_output(name):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(FOLDER / name, as_version=4))
    for cell in read(name)["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None, f"cell {cell['id']} holds an output"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_short_and_defines_nothing(name):
    cells = code_cells(name)
    lines = [line for cell in cells for line in cell.splitlines() if line.strip()]
    assert len(lines) <= 80, f"{len(lines)} lines of code; move what is more than settings and calls into the package"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
    found = [ast.unparse(node) for cell in cells for node in ast.walk(ast.parse(cell)) if isinstance(node, kinds)]
    assert not found, found


def test_all_lint():
    """In a folder of their own they would be judged by ruff's defaults; here by this project's rules."""
    for command in (["check"], ["format", "--check", "--diff"]):
        words = [sys.executable, "-m", "ruff", *command, *(str(FOLDER / name) for name in NOTEBOOKS)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=FOLDER.parent)
        assert done.returncode == 0, done.stdout + done.stderr


def test_all_begin_with_the_same_three_lines():
    first = {name: read(name)["cells"][0] for name in NOTEBOOKS}
    assert {cell["cell_type"] for cell in first.values()} == {"code"}
    assert len({"".join(cell["source"]) for cell in first.values()}) == 1, "the first cells differ"
    source = code_cells(NOTEBOOKS[0])[0]
    assert len([line for line in source.splitlines() if line.strip()]) == 3, source
    imported = {
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported and {name.split(".")[0] for name in imported} <= sys.stdlib_module_names, imported

"""The notebooks' first cell, executed: a clean environment, a fake input folder, real wheels, real pip, no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
OURS = "kaggle_notebook_utils-9.9.0-py3-none-any.whl"


def write_wheel(folder, name, *, module, requires=()):
    """A wheel with one module, which says where it came from."""
    project, version = name.split("-")[:2]
    info = f"{project}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    files = {
        f"{module}/__init__.py": f"SOURCE = {str(folder)!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


@pytest.fixture
def run_cell(tmp_path):
    """``run_cell(then) -> CompletedProcess``: the first cell, then a line, in an environment without our package."""
    pip = pytest.importorskip("pip")
    cell = "".join(json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"][0]["source"])
    assert cell.count('"/kaggle/input"') == 1, "the folder is written once, as a constant"
    venv.create(tmp_path / "clean", with_pip=False, symlinks=True)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip").symlink_to(Path(pip.__file__).parent)  # a copy of pip takes seconds to make
    (tmp_path / "input").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(tmp_path / "pip"), "PIP_CONFIG_FILE": os.devnull}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COMPILE": "1"}

    def run(then: str) -> subprocess.CompletedProcess:
        source = cell.replace('"/kaggle/input"', repr(str(tmp_path / "input")))
        words = [str(tmp_path / "clean" / "bin" / "python"), "-c", f"{source}\n\n{then}"]
        return subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)

    return run


def test_installs_every_attached_wheel_and_then_nothing_more(run_cell, tmp_path):
    """Both layouts of Kaggle, other inputs beside, and a requirement that only the image would have."""
    place = tmp_path / "input" / "datasets" / "somebody" / "kaggle-notebook-utils" / "wheels"
    write_wheel(place, OURS, module="kaggle_utils", requires=["torch>=2.6"])
    write_wheel(place, "tiny_extra-1.0-py3-none-any.whl", module="tiny_extra")
    write_wheel(tmp_path / "input" / "other", "stranger-1.0-py3-none-any.whl", module="stranger")
    done = run_cell(
        "import kaggle_utils, tiny_extra, importlib.util as u; print(kaggle_utils.SOURCE, u.find_spec('stranger'))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{place} None", "the dataset's wheels and no others"
    again = run_cell("import kaggle_utils")
    assert again.returncode == 0 and again.stdout == "", f"it is there already: {again.stdout}"


def test_without_wheels_the_import_says_what_is_missing(run_cell):
    done = run_cell("import kaggle_utils")
    assert done.returncode == 1 and "No module named 'kaggle_utils'" in done.stderr


def test_a_wheel_that_cannot_be_installed_stops_the_notebook(run_cell, tmp_path):
    write_wheel(tmp_path / "input" / "wheels", OURS, module="kaggle_utils")
    write_wheel(tmp_path / "input" / "wheels", "other_python-1.0-cp27-cp27m-win32.whl", module="other_python")
    done = run_cell("print('went on')")
    assert done.returncode == 1 and "went on" not in done.stdout
    assert "other_python" in done.stderr and "not a supported wheel" in done.stderr


def test_does_nothing_here_where_the_package_is(root):
    cell = "".join(json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"][0]["source"])
    words = [sys.executable, "-c", f"{cell}\nimport kaggle_utils; print(kaggle_utils.__version__)"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, timeout=60)
    assert done.returncode == 0 and len(done.stdout.split()) == 1, done.stdout + done.stderr

"""The wheel holds what the code reads, and its metadata says what STYLE and DESIGN promise."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile

import modules
import pytest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "project"
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=modules.ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = modules.ROOT / name
        if path.is_file() and name.startswith(
            ("kaggle_utils", "submission_builder", "setup.cfg", "pyproject", "README", "LICENSE")
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", str(folder), str(source)], capture_output=True, text=True)
    if done.returncode and "Cannot import 'setuptools" in done.stderr:
        pytest.skip("setuptools is not installed (make test installs it)")
    assert done.returncode == 0, done.stderr[-2000:]
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_holds_every_module_and_data_file(wheel):
    packed = set(wheel.namelist())
    wanted = {
        str(path.relative_to(modules.ROOT))
        for package in modules.PACKAGES
        for path in (modules.ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - packed == set()
    assert not [name for name in packed if name.startswith("tests")]


def test_name_is_free_and_requirements_are_light(wheel):
    metadata = next(wheel.read(n).decode() for n in wheel.namelist() if n.endswith("METADATA"))
    assert "Name: kaggle-notebook-utils\n" in metadata
    hard = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {line.split()[1].split(">")[0] for line in hard} == {"isal", "numpy", "tqdm"}


def test_extras_that_errors_name_exist():
    """Every ``require(..., extra="x")`` names an extra of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(modules.ROOT / "setup.cfg", encoding="utf-8")
    extras = set(config["options.extras_require"])
    import ast

    used = {
        (name, keyword.value.value)
        for name, path in modules.files().items()
        for node in ast.walk(modules.tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require"
        for keyword in node.keywords
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant)
    }
    assert used
    assert {extra for _, extra in used} <= extras, used

"""A wheelhouse is whole, says what is in it, installs without network, and a damaged one is noticed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from submission_builder.cli import main
from submission_builder.wheels import wheelhouse
from submission_builder.wheels.check import check_wheelhouse
from submission_builder.wheels.image_pip import PipSources
from submission_builder.wheels.images import load_image
from submission_builder.wheels.manifest import read_manifest
from submission_builder.wheels.own_wheel import make_own_wheel, repack_installed, wheel_facts
from submission_builder.wheels.resolution import find_missing
from submission_builder.wheels.target import find_python, make_target

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def light(tmp_path_factory) -> Path:
    """A folder with the one wheel that our light core adds to an image, made of what is installed here."""
    folder = tmp_path_factory.mktemp("light")
    try:
        repack_installed("isal", folder)
    except RuntimeError as error:
        pytest.skip(f"this environment's packages are not from wheels: {error}")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools, which builds our wheel, is not installed")
    return make_own_wheel(tmp_path_factory.mktemp("own"))


@pytest.fixture
def build(light, own, tmp_path, monkeypatch, capsys):
    """``build(out, *options) -> (exit status, text)`` of the command, for an image with numpy and tqdm."""
    versions = "".join(f"{name}=={metadata.version(name)}\n" for name in ("numpy", "tqdm"))
    (tmp_path / "image.txt").write_text(f"# python: {HERE}\n{versions}")
    monkeypatch.setattr(wheelhouse, "make_own_wheel", lambda folder: _copied(own, folder))

    def run(out: Path, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["wheelhouse", "--image", str(tmp_path / "image.txt"), "--out", str(out), "--extras", "",
                       "--no-index", "--find-links", str(light), *options])  # fmt: skip
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def _copied(own: Path, folder: Path) -> Path:
    (folder / own.name).write_bytes(own.read_bytes())
    return folder / own.name


def test_build_check_and_damage(build, tmp_path, monkeypatch):
    out = tmp_path / "house"
    status, text = build(out)
    assert status == 0, text
    manifest = read_manifest(out)
    assert [wheel.name for wheel in manifest.wheels] == ["isal", "kaggle-notebook-utils"]
    assert {p.name for p in out.iterdir()} == {
        "requirements.txt",
        "wheelhouse.json",
        *(w.file for w in manifest.wheels),
    }
    assert manifest.size == sum(p.stat().st_size for p in out.glob("*.whl"))
    assert "2 wheels" in text and "replaces" not in text
    report = check_wheelhouse(out, sources=PipSources(no_index=True))
    assert report.ok and any("installed without network" in line for line in report.passed), report.to_text()
    assert ["numpy" in line and "cannot be had here" in line for line in report.unchecked] == [True], report.to_text()

    with monkeypatch.context() as patched:
        patched.setattr("submission_builder.wheels.check.find_python", lambda version: None)
        patched.setattr("submission_builder.wheels.check._check_complete", lambda *arguments: None)  # seen above
        report = check_wheelhouse(out)
    assert report.ok, report.to_text()
    assert any(f"Python {HERE} is not on this machine" in line for line in report.unchecked)
    assert any("public modules import" in line for line in report.passed)

    (out / "dataset-metadata.json").write_text("{}")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert build(out)[0] == 0  # again: the same bytes, and another command's file survives
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before

    wheel = out / manifest.wheels[0].file
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    (out / "stranger-1.0-py3-none-any.whl").write_bytes(b"")
    report = check_wheelhouse(out)
    assert not report.ok and len(report.problems) == 2, report.to_text()
    status, text = build(out)
    assert status == 1 and "stranger-1.0" in text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []  # nothing half made is left


def test_arguments_that_cannot_work(build, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in build(tmp_path / "mine")[1]
    status, text = build(tmp_path / "house", "--extras", "llm,wings")
    assert status == 1 and "no extra wings; there are: all," in text
    assert not (tmp_path / "house").exists()
    assert main(["wheelhouse", "check", str(tmp_path / "mine")]) == 1


def test_repacked_wheel_is_what_was_installed(light):
    wheel = next(light.glob("isal-*.whl"))
    assert wheel_facts(wheel)["Version"] == metadata.version("isal")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        recorded = archive.read(next(n for n in archive.namelist() if n.endswith("/RECORD"))).decode().splitlines()
        assert {line.split(",")[0] for line in recorded} == set(archive.namelist())
    with pytest.raises(RuntimeError, match="is not installed here"):
        repack_installed("no-such-package", light)


@pytest.mark.skipif("KAGGLE_UTILS_TEST_INDEX" not in os.environ, reason="set KAGGLE_UTILS_TEST_INDEX: it asks an index")
def test_the_images_from_the_real_index(own, tmp_path, monkeypatch):
    """The 2026 image lacks bitsandbytes and isal alone; on the competition's image the core installs and imports."""
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--timeout", "5", "--retries", "0", "isal==1.9.1",
         "--only-binary=:all:", "--dest", str(tmp_path)], capture_output=True, text=True,
    )  # fmt: skip
    if probe.returncode or os.environ.get("PIP_NO_INDEX"):
        pytest.skip("no package index can be reached")
    monkeypatch.setattr(wheelhouse, "make_own_wheel", lambda folder: _copied(own, folder))
    new = load_image("kaggle-2026")
    found = find_missing([f"{own}[llm]"], new, make_target(new))
    assert [wheel.name for wheel in found.needed] == ["bitsandbytes", "isal", "kaggle-notebook-utils"]
    assert (found.replaced, found.assumed) == ({}, {})
    old = wheelhouse.build_wheelhouse("kaggle-2024", tmp_path / "old", extras=())
    assert "cp310" in json.dumps([wheel.file for wheel in old.wheels])
    if find_python("3.10") is None:
        pytest.skip("no Python 3.10 here: the competition's image is resolved, not installed")
    report = check_wheelhouse(tmp_path / "old")
    assert report.ok and any("Python 3.10" in line for line in report.passed), report.to_text()

"""notebooks/README.md says of each notebook what kernels.json says, and shows what it draws in small pictures."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
FACTS = json.loads((FOLDER / "kernels.json").read_text(encoding="utf-8"))["notebooks"]


def section(name):
    """The text under the notebook's own heading."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", README, flags=re.DOTALL | re.MULTILINE)
    assert found, f"README has no section {name}"
    return found[1]


def test_every_notebook_has_facts():
    assert set(FACTS) == {path.name for path in FOLDER.glob("*.ipynb")}


@pytest.mark.parametrize("file", FACTS)
def test_the_table_repeats_the_facts(file):
    facts, name = FACTS[file], file.removesuffix(".ipynb")
    [row] = [line for line in README.splitlines() if line.startswith(f"| [{name}](#{name}) |")]
    _, _, competition, gpu, minutes, output, _ = (field.strip() for field in row.split("|"))
    assert competition.startswith(f"`{facts['competition']}`" if facts["competition"] else "none")
    assert (gpu, minutes) == (facts["gpu"], str(facts["minutes"]))
    assert re.findall(r"`([^`]+)`", output) == facts["output"]


@pytest.mark.parametrize("file", FACTS)
def test_each_section_names_the_inputs_and_shows_a_picture(file):
    facts, text = FACTS[file], section(file.removesuffix(".ipynb"))
    datasets = [name.rpartition("/")[2] for name in facts["datasets"]]
    wanted = [name for name in datasets if name != "kaggle-notebook-utils"]
    wanted += [name.partition("/")[2] for name in facts["models"]]
    assert [name for name in wanted if f"`{name}`" not in text] == []
    assert f"]({file})" in text
    assert re.search(r"!\[[^]]{20,}\]\(images/[\w]+\.png\)", text), "no picture, or none that is described"


def test_pictures_are_small_real_and_all_shown():
    shown = set(re.findall(r"\]\(images/([^)]+)\)", README))
    assert shown == {path.name for path in (FOLDER / "images").iterdir()}
    for name in shown:
        content = (FOLDER / "images" / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) < 100_000, f"{name}: {len(content)} bytes"
        width, height = struct.unpack(">II", content[16:24])
        assert min(width, height) >= 200 and width <= 1600, (name, width, height)

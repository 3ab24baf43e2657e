"""Notebooks with their metadata: the shipped facts are right, wrong ones are all named."""

import json
from pathlib import Path

import pytest

from submission_builder.publishing.kernels import make_kernels
from submission_builder.publishing.metadata_error import MetadataError
from submission_builder.publishing.notebook_facts import MACHINES, read_facts

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
FACTS = read_facts(NOTEBOOKS / "kernels.json")
WHEELS = "{owner}/kaggle-notebook-utils"


def code(name):
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_every_notebook_has_facts_and_becomes_a_kernel(tmp_path):
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert set(FACTS) == {path.name for path in notebooks}
    for made, path in zip(make_kernels(notebooks, owner="ada", out=tmp_path / "out"), notebooks, strict=True):
        metadata = json.loads((made.path / "kernel-metadata.json").read_text())
        assert (made.path / metadata["code_file"]).read_bytes() == path.read_bytes()
        assert metadata["id"] == made.reference == f"ada/{made.path.name}"
        assert metadata["enable_internet"] is False
        assert metadata["is_private"] is True
        assert metadata["enable_gpu"] is ("machine_shape" in metadata)
        assert "{owner}" not in json.dumps(metadata)
        assert "ada/kaggle-notebook-utils" in metadata["dataset_sources"]


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_what_the_notebook_asks_for(name):
    facts, text = FACTS[name], code(name)
    for source in set(facts.datasets) - {WHEELS}:
        assert f'"{source.split("/")[1]}"' in text, f"{name} never reads {source}"
    for source in facts.models:
        assert f'"{source.split("/", 1)[1]}"' in text, f"{name} never reads {source}"
    if 'COMPETITION = "' in text:
        assert f'COMPETITION = "{facts.competition}"' in text
    for output in facts.output:
        assert output.split("/")[0].split("*")[0] in text or output in ("losses.png", "out_of_fold.png"), output
    assert facts.minutes


def write(tmp_path, **facts):
    (tmp_path / "a.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    found = {"a.ipynb": {"title": "My notebook", **facts}}
    (tmp_path / "kernels.json").write_text(json.dumps({"notebooks": found}))
    return tmp_path / "a.ipynb"


def test_two_t4_are_the_shape_that_the_client_sends(tmp_path):
    (made,) = make_kernels([write(tmp_path, gpu="T4 x2")], owner="ada", out=tmp_path / "out")
    metadata = json.loads((made.path / "kernel-metadata.json").read_text())
    assert (metadata["enable_gpu"], metadata["machine_shape"]) == (True, "NvidiaTeslaT4")
    assert "weekly hours" in made.to_text()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"gpu": "P100"}, "P100 is retired"), ({"title": 3}, "'title' is 3"), ({"minutes": "9"}, "'minutes' is '9'"),
        ({"datasets": "ada/x"}, "expected a list"), ({"inputs": []}, "'inputs' is unknown"),
        ({"internet": "no"}, "true or false"),
    ],
)  # fmt: skip
def test_wrong_facts(tmp_path, facts, said):
    with pytest.raises(MetadataError, match=said):
        make_kernels([write(tmp_path, **facts)], owner="ada", out=tmp_path / "out")


def test_all_problems_of_all_notebooks_at_once(tmp_path):
    notebook = write(tmp_path, title="abc", datasets=["wheels", "{owner}/x", "{owner}/x"], models=["google/gemma"],
                     kernels=["ada/eda"], competition="LLM 20 Questions")  # fmt: skip
    (tmp_path / "b.ipynb").write_text("not json")
    with pytest.raises(MetadataError) as caught:
        make_kernels([notebook, tmp_path / "b.ipynb", tmp_path / "gone.ipynb"], owner="Ada", out=tmp_path / "out")
    said = str(caught.value)
    for words in (
        "owner 'Ada'", "title 'abc'", "slug 'abc'", "dataset 'wheels'", "'Ada/x' twice", "model 'google/gemma'",
        "'ada/eda' has a slug", "'llm-20-questions' would do", "b.ipynb is no JSON", "b.ipynb has no facts",
        "gone.ipynb does not exist",
    ):  # fmt: skip
        assert words in said, words
    assert not (tmp_path / "out").exists()


def test_one_id_for_two_notebooks(tmp_path):
    notebook = write(tmp_path)
    (tmp_path / "b.ipynb").write_bytes(notebook.read_bytes())
    facts = {name: {"title": "Same title"} for name in ("a.ipynb", "b.ipynb")}
    (tmp_path / "kernels.json").write_text(json.dumps({"notebooks": facts}))
    with pytest.raises(MetadataError, match="ada/same-title is the id of several notebooks"):
        make_kernels([notebook, tmp_path / "b.ipynb"], owner="ada", out=tmp_path / "out")


def test_no_facts_at_all(tmp_path):
    notebook = write(tmp_path)
    (tmp_path / "kernels.json").unlink()
    with pytest.raises(MetadataError, match=r"kernels\.json does not exist"):
        make_kernels([notebook], owner="ada")
    assert None in MACHINES.values()

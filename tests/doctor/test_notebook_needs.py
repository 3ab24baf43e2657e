"""What notebooks need is written once, agrees with the notebooks, and what lacks comes with a remedy."""

from __future__ import annotations

import json

import pytest

from kaggle_utils.doctor import notebooks
from kaggle_utils.doctor.devices import Probe
from kaggle_utils.doctor.needs import chosen_needs, load_needs
from kaggle_utils.doctor.notebooks import notebook_findings
from kaggle_utils.doctor.requirement import split_requirement

GPU = {"name": "Tesla T4", "memory": 16 << 30, "capability": [7, 5], "computes": True}
TORCH = {"version": "2.10.0", "cuda": "12.8", "built_for": ["sm_75"], "triton": True, "flex": True, "seconds": 5}
TWO_GPUS = Probe({"torch": TORCH, "cuda:0": GPU, "cuda:1": GPU, "bitsandbytes on cuda:0": {"relative_error": 0.09}})


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Empty folders in the place of Kaggle's, and every package in the version that fits."""
    for folder in ("input", "working", "scratch"):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(f"KAGGLE_UTILS_{folder.upper()}_DIR", str(tmp_path / folder))
    monkeypatch.setattr(notebooks, "installed_version", lambda name: "1.18.0")
    monkeypatch.setattr(notebooks, "declared", dict)
    return tmp_path


def attach(machine, need):
    for name in (*need.inputs, *([need.competition] if need.reads_competition else [])):
        (machine / "input" / name).mkdir(parents=True)
        (machine / "input" / name / "file").touch()


def lacking(name, probe=TWO_GPUS):
    [need] = chosen_needs([name])
    return {found.what: found for found in notebook_findings(need, probe) if found.level == "lack"}


def test_the_installed_package_knows_what_the_notebooks_folder_says(root):
    """One source: `cp notebooks/kernels.json kaggle_utils/doctor/` after a change."""
    source, copy = root / "notebooks" / "kernels.json", root / "kaggle_utils" / "doctor" / "kernels.json"
    assert copy.read_text(encoding="utf-8") == source.read_text(encoding="utf-8")
    assert load_needs(source) == load_needs()


def test_there_are_needs_of_every_notebook_in_its_own_words(root):
    needs = {need.notebook: need for need in load_needs()}
    assert set(needs) == {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    for name, need in needs.items():
        cells = json.loads((root / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        source = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        attached = [*need.inputs, *([need.competition] if need.reads_competition else [])]
        assert [text for text in attached if f'"{text}"' not in source] == [], "the settings name other inputs"
        assert need.packages and need.minutes > 0 and need.output


def test_packages_are_required_by_an_extra(root):
    """Else no wheelhouse brings them."""
    lines = [line.strip() for line in (root / "setup.cfg").read_text(encoding="utf-8").splitlines()]
    known = {split_requirement(line)[0].casefold() for line in lines if line and line[0].isalpha()}
    wanted = {name.casefold() for need in load_needs() for name in need.packages} - {"kaggle-environments"}
    assert wanted <= known, wanted - known


@pytest.mark.parametrize("name", [need.notebook for need in load_needs()])
def test_lacks_its_inputs_and_nothing_else_and_then_nothing(machine, name):
    [need] = chosen_needs([name])
    inputs = {f"input {text}" for text in need.inputs}
    assert set(lacking(name)) == inputs | ({f"competition {need.competition}"} if need.reads_competition else set())
    attach(machine, need)
    assert lacking(name) == {}


def test_gpus(machine):
    name = "lmsys_two_gpu_inference"
    attach(machine, chosen_needs([name])[0])
    assert "Accelerator" in lacking(name, Probe({"torch": TORCH}))["GPU"].remedy
    one = Probe({name: facts for name, facts in TWO_GPUS.stages.items() if name != "cuda:1"})
    assert lacking(name, one) == {}, "one GPU is enough"
    dead = Probe({**TWO_GPUS.stages, "cuda:1": {**GPU, "name": "Tesla P100", "computes": False}})
    assert lacking(name, dead)["GPU"].value.startswith("Tesla P100 does not compute")


def test_packages_missing_too_old_or_broken(machine, monkeypatch):
    name = "lmsys_two_gpu_inference"
    attach(machine, chosen_needs([name])[0])
    monkeypatch.setattr(notebooks, "installed_version", {"torch": "2.1.2"}.get)
    monkeypatch.setattr(notebooks, "declared", lambda: {"torch": ">=2.6", "peft": ">=0.18"})
    found = lacking(name)
    assert found["torch"].value == "2.1.2 is installed" and found["torch"].expected == ">=2.6"
    assert found["peft"].value == "missing" and "pip install 'peft>=0.18'" in found["peft"].remedy
    monkeypatch.setattr(notebooks, "installed_version", lambda name: "9.9")
    broken = Probe({**TWO_GPUS.stages, "bitsandbytes on cuda:0": {"error": "the process was killed by signal 11"}})
    assert set(lacking(name, broken)) == {"bitsandbytes"}
    assert 'quantization="none"' in lacking(name, broken)["bitsandbytes"].remedy


def test_a_newer_environment_without_the_game_lacks(machine, monkeypatch):
    monkeypatch.setattr(notebooks, "installed_version", lambda name: "1.33.2")
    assert "--no-deps 'kaggle-environments==1.18.0'" in lacking("llm20q_policy")["kaggle-environments"].remedy


def test_a_full_disk_and_an_empty_input_lack(machine, monkeypatch):
    name = "lmsys_deberta_kfold"
    attach(machine, chosen_needs([name])[0])
    (machine / "input" / "deberta-v3-base" / "file").unlink()
    monkeypatch.setattr(notebooks.shutil, "disk_usage", lambda folder: type("Use", (), {"free": 5e9}))
    found = lacking(name)
    assert set(found) == {"input deberta-v3-base", "working folder"}
    assert "KAGGLE_UTILS_WORKING_DIR" in found["working folder"].remedy


def test_unknown_notebooks_are_named_with_what_there_is():
    assert chosen_needs(["notebooks/llm20q_policy.ipynb"])[0].notebook == "llm20q_policy"
    with pytest.raises(ValueError, match=r"no notebook is called nb, x; there are .*llm20q_policy"):
        chosen_needs(["nb", "llm20q_policy", "x"])

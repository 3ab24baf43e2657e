"""The whole page: parts that fail are findings, scripts get an exit status and JSON, the command line works."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kaggle_utils.__main__ import main
from kaggle_utils.doctor import machine, report
from kaggle_utils.doctor.devices import Probe
from kaggle_utils.doctor.finding import Finding, isolated

TORCH = {"version": "2.10.0", "cuda": None, "built_for": [], "triton": True, "flex": True, "seconds": 5}
PROBE = Probe({"torch": TORCH, "bitsandbytes on cpu": {"relative_error": 0.09, "seconds": 0.1}})


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for folder in ("input", "working", "scratch"):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(f"KAGGLE_UTILS_{folder.upper()}_DIR", str(tmp_path / folder))
    monkeypatch.setattr(report, "probe_devices", lambda timeout: PROBE)
    return tmp_path


def test_status_json_and_text(folders, capsys):
    assert main(["doctor", "--json", "--notebook", "lmsys_deberta_kfold"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False
    assert {"competition lmsys-chatbot-arena", "input deberta-v3-base", "GPU"} <= set(
        facts["lacking"]["lmsys_deberta_kfold"]
    )
    assert all(set(found) == {"check", "what", "value", "expected", "remedy", "level"} for found in facts["findings"])
    assert {found["check"] for found in facts["findings"]} == {
        "versions", "GPUs", "memory and disk", "inputs", "lmsys_deberta_kfold"
    }  # fmt: skip
    assert main(["doctor", "--notebook", "lmsys_deberta_kfold"]) == 1
    page = capsys.readouterr().out
    assert "! input deberta-v3-base" in page and page.count("    -> ") >= 3 and "numpy" in page
    assert len(page.splitlines()) < 60, "one page"


def test_status_is_0_where_nothing_lacks(folders, capsys, monkeypatch):
    from kaggle_utils.doctor import notebooks

    monkeypatch.setattr(notebooks, "installed_version", lambda name: "1.18.0")
    monkeypatch.setattr(notebooks, "declared", dict)
    assert main(["doctor", "--notebook", "llm20q_policy.ipynb"]) == 0
    assert capsys.readouterr().out.endswith("nothing lacks\n")


def test_an_unknown_notebook_is_wrong_use(capsys):
    assert main(["doctor", "--notebook", "nothing"]) == 2
    assert "there are" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["version_findings", "device_findings", "input_findings", "notebook_findings"])
def test_a_part_that_fails_is_a_finding_and_the_others_go_on(folders, monkeypatch, part):
    def fails(*_):
        yield Finding("versions", "begun", "fine")
        raise OSError("the disk\nis gone")

    monkeypatch.setattr(report, part, fails)
    seen = report.examine(["llm20q_policy"])
    [failed] = [found for found in seen.findings if found.value == "failed: OSError: the disk is gone"]
    assert any(found.what == "begun" for found in seen.findings), "what was seen until then stays"
    assert any(found.what == "memory" for found in seen.findings), "the other parts are there"
    assert failed.level == ("lack" if part == "notebook_findings" else "note")
    assert seen.ok is False or part != "notebook_findings"


def test_a_process_that_cannot_be_started_is_a_finding(folders, monkeypatch):
    def fails(**_):
        raise OSError("out of processes")

    monkeypatch.setattr(report, "probe_devices", fails)
    seen = report.examine(["llm20q_policy"])
    assert any("out of processes" in found.value for found in seen.findings)
    assert "torch" in [found.what for found in seen.lacking], "what could not be tried is not taken to work"


def test_folders_that_cannot_be_used_are_findings(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "inside"))
    found = {finding.what: finding for finding in machine.memory_and_disk_findings()}
    assert "lies inside the working folder" in found["scratch folder"].value
    assert found["working folder"].level == "ok"


def test_inputs_are_named_as_input_dir_takes_them(folders):
    from kaggle_utils.environment import input_dir

    for name in ("lmsys-chatbot-arena", "models/google/gemma-2/transformers/2b-it/1", "datasets/me/wheels"):
        (folders / "input" / name).mkdir(parents=True)
    names = [found.value for found in machine.input_findings()]
    assert names == ["me/wheels", "lmsys-chatbot-arena", "google/gemma-2/transformers/2b-it/1"]
    assert all(input_dir(name).is_dir() for name in names)


def test_two_copies_of_the_package_are_noted(monkeypatch):
    monkeypatch.setattr(machine, "installed_version", lambda name: "0.0.1")
    found = {finding.what: finding for finding in machine.version_findings()}
    assert "but 0.0.1 is installed" in found["kaggle-notebook-utils"].value


def test_a_lack_without_a_remedy_is_refused():
    with pytest.raises(ValueError, match="no remedy"):
        Finding("x", "y", "z", level="lack")
    with pytest.raises(ValueError, match="none of"):
        Finding("x", "y", "z", level="bad")
    [found] = isolated("x", lambda: 1 / 0, level="lack")
    assert found.remedy


def test_the_command_line_imports_no_torch(root):
    code = "import sys, kaggle_utils.__main__ as m\ntry: m.main(['doctor', '--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=os.environ)
    assert done.returncode == 0 and done.stdout.endswith("[]\n") and "exit status" in done.stdout, done.stderr


def test_without_a_command_the_list_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "doctor" in said and "q20" in said
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2

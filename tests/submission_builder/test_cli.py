"""The command line: exit status 0 only if it is good, sentences instead of tracebacks."""

import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from archive_sources import write_sources

from submission_builder.cli import build_parser, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def options(tmp_path):
    sources = write_sources(tmp_path)
    return ["--main", str(sources["main"]), "--include", f"model={sources['include']['model']}",
            "--output", str(sources["output"]), "--quiet"]  # fmt: skip


def test_plan_then_build(options, tmp_path, capsys):
    assert main(["plan", *options]) == 0
    assert "at most  5," in capsys.readouterr().out
    assert not (tmp_path / "submission.tar.gz").exists()
    assert main(["build", *options, "--package", "kaggle_utils", "--report", str(tmp_path / "report.json")]) == 0
    output = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tar_sha256"] in output
    assert report["sha256"] == hashlib.sha256((tmp_path / "submission.tar.gz").read_bytes()).hexdigest()
    assert report["size"] == (tmp_path / "submission.tar.gz").stat().st_size
    assert "package kaggle_utils" in output


def test_json_output_is_one_object(options, capsys):
    assert main(["plan", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["name"] == "main.py"
    assert main(["build", *options, "--json", "--no-hash"]) == 0
    assert json.loads(capsys.readouterr().out)["tar_sha256"] is None


def test_problems_are_sentences_and_status_one(options, capsys):
    assert main(["build", *options, "--limit", "1MB", "--include", "gone=/no/such/folder"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n  - ") == 2
    assert "Traceback" not in captured.err
    assert "largest" in captured.out, "the table is shown all the same"


def test_debug_shows_where_an_error_comes_from(options):
    with pytest.raises(ValueError, match=r"over the 1\.00 MB"):
        main(["plan", *options, "--limit", "1MB", "--debug"])


@pytest.mark.parametrize(
    "wrong",
    [
        [], ["plan", "--main", "m.py", "--include", "nosign"], ["plan", "--main", "m.py", "--limit", "much"],
        ["plan", "--main", "m.py", "--limit", "1GB", "--profile", "none"], ["verify"], ["verify", "x", "--games", "0"],
    ],
)  # fmt: skip
def test_wrong_arguments_are_status_two(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_ready_agent_is_packed_where_no_main_is_given(tmp_path, capsys):
    assert main(["plan", "--json", "--output", str(tmp_path / "s.tar.gz")]) == 0
    files = json.loads(capsys.readouterr().out)
    assert {"main.py", "kaggle_utils/q20/agent.py"} <= {file["name"] for file in files["files"]}


def test_one_name_for_two_includes(options, capsys):
    assert main(["plan", *options, "--include", "model=/tmp"]) == 1
    assert "--include names model more than once" in capsys.readouterr().err


@pytest.mark.parametrize("ok", [True, False])
def test_verify_passes_its_options_and_its_verdict(monkeypatch, capsys, ok, tmp_path):
    seen = {}

    def verify_archive(archive, **options):
        seen.update(options, archive=archive)
        return types.SimpleNamespace(ok=ok, to_text=lambda: "the verdict", to_json=lambda: '{"ok": true}')

    fake = types.SimpleNamespace(verify_archive=verify_archive)
    monkeypatch.setitem(sys.modules, "submission_builder.verify", fake)
    arguments = ["verify", "s.tar.gz", "--keyword", "tiger", "--keyword", "new york", "--games", "3",
                 "--memory-gib", "1.5", "--act-timeout", "5",
                 "--overage", "7", "--work-dir", str(tmp_path), "--quiet",
                 "--min-wins", "2", "--no-probe", "--start", "spawn"]  # fmt: skip
    assert main(arguments) == (0 if ok else 1)
    assert seen == {
        "archive": Path("s.tar.gz"), "keywords": ["tiger", "new york"], "games": 3, "memory_limit": 1610612736,
        "act_timeout": 5.0, "overage": 7.0, "work_dir": tmp_path, "progress": False,
        "min_wins": 2, "probe": False, "start": "spawn",
    }  # fmt: skip
    assert capsys.readouterr().out == "the verdict\n"
    main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out) == {"ok": True}


def test_verify_is_called_with_arguments_it_has():
    """The fake above must not hide a change of the real function."""
    import inspect

    verify = pytest.importorskip("submission_builder.verify")
    names = set(inspect.signature(verify.verify_archive).parameters)
    assert {"keywords", "games", "act_timeout", "overage", "memory_limit", "work_dir", "progress"} <= names


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [(KeyboardInterrupt(), 130, "interrupted"), (TypeError("odd"), 1, "run again with --debug")],
)
def test_other_ends(monkeypatch, capsys, options, error, status, text):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("submission_builder.archive.build_archive", fail)
    assert main(["build", *options]) == status
    assert text in capsys.readouterr().err


def test_help_has_examples_and_imports_nothing_heavy():
    for command in ([], ["plan"], ["build"], ["verify"]):
        code = f"import sys; from submission_builder.cli import main\ntry: main({[*command, '--help']!r})\nfinally: "
        code += "print([m for m in ('numpy', 'torch', 'isal', 'tqdm') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
        assert "examples:\n  submission-builder" in done.stdout
        assert done.stdout.endswith("[]\n")


def test_every_example_parses():
    text = build_parser().format_help()
    examples = [line.split()[1:] for line in text.splitlines() if line.startswith("  submission-builder")]
    assert len(examples) >= 4
    for words in examples:
        build_parser().parse_args([word.strip("'") for word in words])


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "submission_builder", "plan", "--main", "/no/agent.py"],
                          capture_output=True, text=True, cwd=ROOT, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "agent.py does not exist" in done.stderr
    assert "Traceback" not in done.stderr

"""``submission-builder dataset | kernels | models`` on the command line."""

import json
import shlex

import pytest

from submission_builder.cli import build_parser, main


def test_dataset_end_to_end(kaggle, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["dataset", str(weights), "--title", "Judge weights", "--owner", "ada", "--quiet"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"kaggle datasets create -p {tmp_path / 'judge-weights'} -r zip" in printed
    assert kaggle.calls == [], "nothing is sent unless asked"
    assert main([*command, "--upload", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["reference"] in facts["uploaded"]
    assert kaggle.state["datasets"]["ada/judge-weights"]


def test_what_the_client_prints_is_shown(kaggle, weights, tmp_path, capsys):
    command = [
        "dataset",
        str(weights),
        "--title",
        "Judge weights",
        "--owner",
        "ada",
        "--out",
        str(tmp_path / "out"),
        "--upload",
    ]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "kaggle | Starting upload for file model.safetensors" in captured.err
    assert captured.out.rstrip().endswith("https://example.invalid/ada/judge-weights")


def test_problems_and_failed_uploads_are_status_one(kaggle, weights, tmp_path, capsys):
    command = ["dataset", str(weights), "--owner", "ada", "--out", str(tmp_path / "out"), "--upload", "--quiet"]
    assert main([*command, "--title", "abc", "--license", "Apache"]) == 1
    assert capsys.readouterr().err.count("\n  - ") == 3
    assert kaggle.calls == []
    kaggle.write(fail={"datasets create": ("502 Server Error: Bad Gateway", 1)})
    assert main([*command, "--title", "Judge weights"]) == 1
    error = capsys.readouterr().err
    assert "next: Kaggle could not be reached" in error
    assert "Traceback" not in error
    assert (tmp_path / "out" / "dataset-metadata.json").is_file()


def test_models_and_kernels(kaggle, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = [
        "models",
        str(weights),
        "--title",
        "SmolLM2 nf4",
        "--owner",
        "ada",
        "--variation",
        "nf4",
        "--license",
        "MIT",
    ]
    assert main([*model, "--upload", "--quiet"]) == 0
    assert list(kaggle.state["models"]) == ["ada/smollm2-nf4"]
    (tmp_path / "a.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    (tmp_path / "facts.json").write_text('{"notebooks": {"a.ipynb": {"title": "My notebook"}}}')
    kernels = ["kernels", "a.ipynb", "--owner", "ada", "--facts", "facts.json", "--upload", "--no-run", "--quiet"]
    assert main(kernels) == 0
    assert main(kernels) == 0
    assert capsys.readouterr().out.rstrip().endswith("ada/my-notebook: unchanged")
    assert kaggle.calls[-1] == ["kernels", "push", "-p", str(tmp_path / "kernels" / "my-notebook"), "--no-run"]


@pytest.mark.parametrize("command", ["dataset", "kernels", "models"])
def test_every_example_parses(command, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    examples = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  submission-builder")]
    assert len(examples) >= 2
    for line in examples:
        assert build_parser().parse_args(shlex.split(line)[1:]).command == command


def test_wrong_arguments_are_status_two(capsys):
    for wrong in (["dataset", "x"], ["kernels", "--owner", "a"], ["models", "x", "--title", "t", "--owner", "a"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2

"""The command line of scoring, on one machine and without Ray; the same on a cluster is in ``test_cluster_ray``."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

from kaggle_utils.__main__ import main
from kaggle_utils.data.pairs import read_pairs

arrow = pytest.importorskip("pyarrow", reason="make test installs it")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def tiny_judge(made_once):
    from tiny_classifiers import write_tiny_classifier

    return made_once("tiny-judge-llama", write_tiny_classifier)


@pytest.fixture
def pairs_csv(tmp_path):
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "response_a", "response_b"])
        for i in range(24):
            writer.writerow([1000 + i, f'["Is {i} alive?"]', f'["{"yes " * (i % 5 + 1)}"]', '["no, a thing"]'])
    return path


def options(model, *more):
    return ["--model", str(model), "--max-length", "64", "--cluster", "none", "--workers", "threads", "--quiet", *more]


def expected(model, path, **settings):
    """What the engine of one machine says."""
    from transformers import AutoTokenizer

    from kaggle_utils.data.tokenization import PairTokenizer
    from kaggle_utils.inference.judges import folder_judge
    from kaggle_utils.inference.scoring import score_pairs

    reader = PairTokenizer(AutoTokenizer.from_pretrained(model), style="llama", max_length=64, truncation="middle")
    judge = folder_judge("judge", model, reader, **settings)
    return score_pairs(read_pairs(path), [judge], devices=["cpu"], workers="threads", swap="all", progress=False)


def test_a_csv_is_scored_as_on_one_machine(tiny_judge, pairs_csv, tmp_path, capsys):
    from kaggle_utils.inference.cluster import as_array, read_dataset

    words = ["score", str(pairs_csv), str(tmp_path / "out"), *options(tiny_judge)]
    words += ["--style", "llama", "--truncation", "middle", "--swap", "all", "--block-rows", "10"]
    assert main(words) == 0
    assert "24 of 24 rows" in capsys.readouterr().out
    table = read_dataset(tmp_path / "out")
    assert table.column("id").to_pylist() == list(range(1000, 1024))
    here = expected(tiny_judge, pairs_csv).probabilities
    assert np.abs(as_array(table, "probabilities") - here).max() < 1e-5
    assert main(words) == 0
    assert "0 computed now" in capsys.readouterr().out
    assert main([*words, "--temperature", "2"]) == 2
    assert "task.judges[0].temperature: was 1.0, is 2.0" in capsys.readouterr().err


def test_bad_input_is_one_message_and_status_2(tiny_judge, pairs_csv, tmp_path, capsys):
    def refused(source, *more, model=tiny_judge):
        assert main(["score", str(source), str(tmp_path / "out"), *options(model, *more)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "Traceback" not in said
        return said

    both = refused(tmp_path / "nowhere", model=tmp_path)
    assert "there is no config.json" in both and "nowhere: there is no such file or folder" in both
    assert "no parquet file at" in refused("file://" + str(tmp_path / "nowhere"))
    assert "no prompt style 'gema'" in refused(pairs_csv, "--style", "gema").replace("unknown", "no")
    assert "--actors many: expected a number" in refused(pairs_csv, "--actors", "many")
    assert "--column prompt: expected NAME=OTHER" in refused(pairs_csv, "--column", "prompt")
    assert "--prior half: expected numbers" in refused(pairs_csv, "--prior", "half")
    assert "has no column question" in refused(pairs_csv, "--column", "prompt=question")
    pairs_csv.write_text(pairs_csv.read_text() + "77,only two\n", encoding="utf-8")
    assert "row 24: 2 cells where the header has 4" in refused(pairs_csv)
    assert not list((tmp_path / "out").glob("block-*"))


def test_one_machine_needs_no_ray(tiny_judge, pairs_csv, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["score", str(pairs_csv), str(tmp_path / "out"), *options(tiny_judge)]) == 0
    assert "24 of 24 rows" in capsys.readouterr().out


@pytest.mark.parametrize(("hidden", "where"), [("ray", "auto"), ("ray", "local"), ("pyarrow", "none")])
def test_what_is_not_installed_is_one_error_that_names_the_extra(
    hidden, where, pairs_csv, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, hidden, None)
    words = ["score", str(pairs_csv), str(tmp_path / "out"), *options("/nowhere"), "--cluster", where]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: '{hidden}' is needed here and is not installed.")
    assert "kaggle-notebook-utils[cluster]" in said
    assert len(said.splitlines()) == 1


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["score", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for words in ("--cluster WHERE", "exit status: 0 all rows are there", "--max-length N"):
        assert words in said

"""Real answers: Japanese ones stay, English ones and loops go."""

from __future__ import annotations

import json

from filter_rows import read_rows

from kaggle_utils.data.filtering import FilterSettings, filter_files

DUPLICATES = FilterSettings(duplicates=True, near_duplicates=0.8)


def test_rakuda(shared_data, tmp_path):
    source = shared_data / "ja" / "rakuda_answers.jsonl"
    report = filter_files(source, tmp_path / "out.jsonl", fields="answer", progress=False, processes=1)
    kept = read_rows(tmp_path / "out.jsonl")
    assert not [row for row in kept if row["model"] == "llama2-7b-chat"]
    assert len(kept) >= 0.97 * 1440, report.to_text()
    fewer = filter_files(
        source, tmp_path / "fewer.jsonl", settings=DUPLICATES, fields="answer", progress=False, processes=1
    )
    assert fewer.stage("duplicates").why["equal"] > 500  # most models answered for both versions of the set


def test_written_dialogues_all_stay(shared_data, tmp_path):
    report = filter_files(
        shared_data / "ja" / "instruction_ja.jsonl", tmp_path / "out.jsonl", progress=False, processes=1
    )
    assert report.fields == ("utterances.*.text",)
    assert report.kept >= 0.995 * report.rows, report.to_text()
    tasks = filter_files(
        shared_data / "ja" / "elyza_tasks_100.jsonl", tmp_path / "tasks.jsonl", progress=False, processes=1
    )
    assert (tasks.kept, tasks.rows) == (100, 100), tasks.to_text()
    assert json.loads((tmp_path / "out.report.json").read_text(encoding="utf-8"))["kept"] == report.kept

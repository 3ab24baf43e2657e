"""The whole filter on files: nothing is lost, the same bytes whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from filter_rows import japanese_rows, read_rows, write_rows

from kaggle_utils.data.filtering import FilterReport, FilterSettings, filter_files, runner

QUIET = {"progress": False, "processes": 1}
BAD = [b'{"broken', b"[1, 2]", b"\xff\xfe{}", b'{"question": "x"}{', b"[" * 100_000]


def outputs(folder) -> dict[str, bytes]:
    """Every file that a run left."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """1,200 rows, one in 20 of them contaminated, with bad and blank lines between them."""
    rows = []
    for row in japanese_rows(1200):
        number = row["id"]
        if number % 20 == 7:
            row["answer"] += ("这个问题非常重要。", "我不知道他是不是在家。", "감사합니다", "\ud800")[number // 20 % 4]
        rows.append(json.dumps(row, ensure_ascii="\ud800" in row["answer"]))
        if number % 100 == 3:
            rows += [BAD[number // 100 % 5], "", "  "]
    rows += [json.dumps(row, ensure_ascii=False) for row in japanese_rows(30)]  # repeats
    return write_rows(tmp_path_factory.mktemp("mixed") / "in.jsonl", rows)


@pytest.fixture(scope="module")
def whole(mixed, tmp_path_factory):
    """One uninterrupted run, in one process and one chunk."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, filter_files(mixed, folder / "out.jsonl", settings=SETTINGS, chunk_bytes=20_000, **QUIET)


SETTINGS = FilterSettings(rare_from_characters=0, rare_counts=(3, 1), duplicates=True, near_duplicates=0.8)


def test_every_line_is_in_exactly_one_file(mixed, whole):
    folder, report = whole
    kept, dropped = read_rows(folder / "out.jsonl"), read_rows(folder / "out.dropped.jsonl")
    bad = read_rows(folder / "out.bad.jsonl")
    lines = mixed.read_bytes().split(b"\n")[:-1]
    assert (report.lines, report.rows, report.bad, report.blank) == (len(lines), 1230, 12, 24)
    assert (report.kept, sum(s.dropped for s in report.stages)) == (len(kept), len(dropped))
    assert len(kept) + len(dropped) == report.rows
    assert Counter(row["id"] for row in kept) + Counter(d["row"]["id"] for d in dropped) == Counter(
        [*range(1200), *range(30)]
    )
    for record in dropped:  # source and line lead back to the row
        assert json.loads(lines[record["line"] - 1]) == record["row"]
        assert record["stage"] and record["why"] and record["source"] == "in.jsonl"
    assert [lines[record["line"] - 1] for record in bad] == [BAD[i % 5] for i in range(12)]
    assert set(lines) >= set((folder / "out.jsonl").read_bytes().split(b"\n")[:-1])  # the same bytes
    clean = [i for i in range(1200) if i % 20 != 7]
    assert [row["id"] for row in kept] == [*clean, 7, 27]  # in order; of the last 30, those without an earlier one


def test_contaminated_rows_go_and_clean_ones_stay(whole):
    folder, report = whole
    assert report.stage("duplicates").dropped == 28  # 30 repeats; the first ones of two were contaminated
    stages = Counter(record["stage"] for record in read_rows(folder / "out.dropped.jsonl"))
    assert stages == {s.name: s.dropped for s in report.stages if s.dropped}
    assert {"scripts", "characters", "language", "broken text"} <= set(stages)


@pytest.mark.parametrize("options", [{"processes": 2}, {"resume": False, "processes": 1}])
def test_same_bytes_whatever_the_number_of_processes(mixed, whole, tmp_path, options):
    options = {**options, "settings": SETTINGS, "chunk_bytes": 20_000, "progress": False}
    report = filter_files(mixed, tmp_path / "out.jsonl", **options)
    assert outputs(tmp_path) == outputs(whole[0])
    assert report == whole[1]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("chunk_bytes", [173, 1 << 30])
def test_chunks_of_any_size_lose_nothing(mixed, whole, tmp_path, chunk_bytes):
    few = tmp_path / "few.jsonl"
    few.write_bytes(b"\xef\xbb\xbf" + b"".join(mixed.read_bytes().splitlines(keepends=True)[:70]).rstrip(b"\n"))
    settings = FilterSettings(rare_counts=())
    report = filter_files(few, tmp_path / "out.jsonl", settings=settings, chunk_bytes=chunk_bytes, **QUIET)
    assert report.lines == 70
    assert report.rows + report.bad + report.blank == 70
    kept = {row["id"] for row in read_rows(tmp_path / "out.jsonl")}
    assert kept == {i for i in range(report.rows) if i % 20 != 7}


def test_killed_at_any_point_and_resumed(mixed, whole, tmp_path, monkeypatch):
    code = (
        "from kaggle_utils.data.filtering import *; import sys; "
        "filter_files(sys.argv[1], sys.argv[2], settings=FilterSettings(rare_from_characters=0, rare_counts=(3, 1), "
        "duplicates=True, near_duplicates=0.8), "
        "chunk_bytes=20_000, processes=2, progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(mixed), str(tmp_path / "out.jsonl")], start_new_session=True
    )
    folder = tmp_path / ".out.work"
    limit = time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 4 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.jsonl").exists(), "it ended before it could be killed"
    done = [path.name for path in folder.glob("*.json") if path.name != "run.json"]
    (folder / "000001.kept.tmp").write_bytes(b"torn")
    asked = []

    def noted(chunks, *args, **options):
        asked.extend(f"{chunk.number:06d}.json" for chunk in chunks)
        return real(chunks, *args, **options)

    real = runner.filter_chunks
    monkeypatch.setattr(runner, "filter_chunks", noted)
    again = {"settings": SETTINGS, "chunk_bytes": 20_000, **QUIET}
    for stop in ("set_drops", "write_outputs", "_stage_reports"):  # then in the second pass, before each step
        with monkeypatch.context() as patch:
            patch.setattr(runner, stop, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                filter_files(mixed, tmp_path / "out.jsonl", **again)
    assert done
    assert not set(done) & set(asked), "finished chunks were done again"
    filter_files(mixed, tmp_path / "out.jsonl", **again)
    assert outputs(tmp_path) == outputs(whole[0])


def test_a_second_call_does_nothing_and_other_settings_are_refused(mixed, tmp_path, monkeypatch):
    one = write_rows(tmp_path / "in.jsonl", japanese_rows(5))
    report = filter_files(one, tmp_path / "b.jsonl", **QUIET)
    stamp = (tmp_path / "b.jsonl").stat().st_mtime_ns
    assert filter_files(one, tmp_path / "b.jsonl", **QUIET) == report
    assert (tmp_path / "b.jsonl").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="resume=False"):
        filter_files(one, tmp_path / "b.jsonl", settings=FilterSettings(blocklist=("図書館",)), **QUIET)
    fresh = filter_files(
        one, tmp_path / "b.jsonl", settings=FilterSettings(blocklist=("図書館",)), resume=False, **QUIET
    )
    assert fresh.stage("blocklist").why == {"図書館": 1}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner, "set_drops", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        filter_files(one, tmp_path / "c.jsonl", **QUIET)
    with pytest.raises(ValueError, match=r"\.c\.work holds a run with other"):
        filter_files(one, tmp_path / "c.jsonl", settings=FilterSettings(min_characters=3), **QUIET)


def test_replacements_and_repairs_change_only_their_rows(tmp_path):
    rows = [
        {
            "messages": [
                {"role": "user", "content": "松下電器とは？\x07"},
                {"role": "assistant", "content": "会社です。"},
            ]
        },
        '{"messages":[{"role":"user",  "content":"はい？"},{"role":"assistant","content":"そうです。"}], "x": 1.50}',
    ]
    settings = FilterSettings(replacements={"松下": "三菱", "松下電器": "パナソニック"})
    report = filter_files(write_rows(tmp_path / "in.jsonl", rows), tmp_path / "b.jsonl", settings=settings, **QUIET)
    lines = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["messages"][0]["content"] == "パナソニックとは？"
    assert lines[1] == rows[1]
    assert (report.changed, report.fields) == (1, ("messages.*.content",))


def test_parquet_is_read_as_jsonl_is(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = japanese_rows(90)
    rows[5]["answer"] = "这个问题"
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=40)
    filter_files(tmp_path / "in.parquet", tmp_path / "p.jsonl", **QUIET)
    filter_files(write_rows(tmp_path / "in.jsonl", rows), tmp_path / "j.jsonl", **QUIET)
    assert read_rows(tmp_path / "p.jsonl") == read_rows(tmp_path / "j.jsonl")
    assert read_rows(tmp_path / "p.dropped.jsonl")[0]["line"] == 6


def test_rows_without_text_are_dropped_with_their_field(tmp_path):
    good = japanese_rows(3)
    rows = [good[0], {"question": "何？"}, {"question": "何？", "answer": None}, {"question": " ", "answer": "はい"},
            {"question": "何？", "answer": 3}, good[1]]  # fmt: skip
    report = filter_files(
        write_rows(tmp_path / "i.jsonl", rows), tmp_path / "b.jsonl", fields=["question", "answer"], **QUIET
    )
    assert read_rows(tmp_path / "b.jsonl") == good[:2]
    assert report.stage("empty").why == {"missing": 2, "empty": 1, "no text but int": 1}


def test_mistakes_in_the_call(tmp_path):
    one = write_rows(tmp_path / "in.jsonl", japanese_rows(1))
    with pytest.raises(ValueError, match=r"(?s)would overwrite.*processes"):
        filter_files(one, one, processes=0)
    with pytest.raises(FileNotFoundError, match=r"(?s)no1.*no2"):
        filter_files([tmp_path / "no1.jsonl", tmp_path / "no2.jsonl"], tmp_path / "b.jsonl")
    with pytest.raises(ValueError, match="'id'"):
        filter_files(write_rows(tmp_path / "x.jsonl", [{"id": 3}]), tmp_path / "b.jsonl")
    with pytest.raises(ValueError, match=r"\.csv"):
        filter_files(write_rows(tmp_path / "x.csv", []), tmp_path / "b.jsonl")


def test_nothing_in_nothing_out(tmp_path):
    report = filter_files(write_rows(tmp_path / "in.jsonl", []), tmp_path / "b.jsonl", **QUIET)
    assert (report.rows, report.kept, (tmp_path / "b.jsonl").read_bytes()) == (0, 0, b"")


def test_report_as_text_json_and_picture(whole, tmp_path):
    report = whole[1]
    assert FilterReport.from_json(report.to_json()) == report
    text = report.to_text()
    assert f"{report.kept:,} of {report.rows:,} rows kept" in text
    assert all(stage.name in text for stage in report.stages)
    assert "in.jsonl:" in text and "这" in text
    assert "<table>" in report._repr_html_()
    pytest.importorskip("matplotlib")
    assert report.to_png(tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")

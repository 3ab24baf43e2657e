"""The store keeps what it was given whole, apart from other runs, through kills and concurrent writers."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from kaggle_utils.inference.store import ResultStore, StoreError


def key(i: int, variant: str = "") -> tuple[bytes, str]:
    return i.to_bytes(16, "little"), variant


def values(i: int) -> np.ndarray:
    return np.array([i, i / 3, -i], np.float32)


def test_round_trip_is_exact_and_survives_closing(tmp_path):
    path = tmp_path / "new" / "results.db"
    put = {key(i): values(i) for i in range(1200)}  # more than one statement can ask for
    with ResultStore(path, "run") as store:
        store.put_many(put)
    with ResultStore(path, "run") as store:
        assert len(store) == 1200
        found = store.get_many(put)
        assert all(found[k].tobytes() == put[k].tobytes() for k in put)
        assert store.missing([key(5000), key(3), key(5001)]) == [key(5000), key(5001)]


def test_other_fingerprints_and_variants_are_other_results(tmp_path):
    path = tmp_path / "r.db"
    with ResultStore(path, "one") as one, ResultStore(path, "two") as two:
        one.put_many({key(1): values(1)})
        two.put_many({key(1): values(2), key(1, "swapped"): values(3)})
        assert one.get_many([key(1)])[key(1)].tolist() == values(1).tolist()
        assert two.get_many([key(1)])[key(1)].tolist() == values(2).tolist()
        assert one.missing([key(1, "swapped")]) == [key(1, "swapped")]
        assert two.fingerprints() == ["one", "two"]


def test_finite_results_stay_and_others_can_be_mended(tmp_path):
    with ResultStore(tmp_path / "r.db", "run") as store:
        store.put_many({key(1): values(1), key(2): np.full(3, np.nan, np.float32)})
        store.put_many({key(1): values(9), key(2): values(2)})
        found = store.get_many([key(1), key(2)])
    assert found[key(1)].tolist() == values(1).tolist()
    assert found[key(2)].tolist() == values(2).tolist()


def test_a_failing_transaction_leaves_nothing(tmp_path):
    with ResultStore(tmp_path / "r.db", "run") as store:
        with pytest.raises(sqlite3.Error):
            store.put_many({key(1): values(1), (b"digest", object()): values(2)})
        assert len(store) == 0
        store.put_many({key(1): values(1)})
        assert len(store) == 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_store_says_so(tmp_path, content):
    path = tmp_path / "r.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"r\.db cannot be used.*delete it or choose another path"):
        ResultStore(path, "run")
    assert path.read_bytes() == content


def damage(path, statement, *values):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("ask", [lambda s: s.get_many([key(1)]), lambda s: s.choice("cpu"), len])
def test_a_file_that_is_damaged_later_says_so(tmp_path, ask):
    path = tmp_path / "r.db"
    with ResultStore(path, "run") as store:
        store.put_many({key(i): values(i) for i in range(500)})
    with ResultStore(path, "run") as store:
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(StoreError, match=r"r\.db cannot be used.*DatabaseError.*delete it or choose another path"):
            ask(store)


@pytest.mark.parametrize("value", [b"\0\0\0\0\0", "text", 7])
def test_a_damaged_value_is_as_if_it_were_not_there_and_is_mended(tmp_path, value):
    path = tmp_path / "r.db"
    with ResultStore(path, "run") as store:
        store.put_many({key(i): values(i) for i in range(3)})
    damage(path, "UPDATE results SET value = ? WHERE digest = ?", value, key(1)[0])
    with ResultStore(path, "run") as store:
        assert store.missing([key(i) for i in range(3)]) == [key(1)]
        store.put_many({key(1): values(1)})
        assert store.get_many([key(1)])[key(1)].tolist() == values(1).tolist()


def test_a_value_of_another_length_is_computed_again(tmp_path):
    from fake_scorers import NumpyScorer, expected_logits

    from kaggle_utils.inference.engine import score_rows
    from kaggle_utils.inference.specs import ScorerSpec

    rows = [np.arange(1, n) for n in range(2, 12)]
    options = {"devices": ["cpu"], "workers": "threads", "progress": False, "store": tmp_path / "r.db"}
    judge = ScorerSpec("judge", NumpyScorer, fingerprint="f")
    score_rows(rows, [judge], **options)
    damage(tmp_path / "r.db", "UPDATE results SET value = ?", b"\0" * 8)
    again = score_rows(rows, [judge], **options)
    assert again.report.computed == 10 and np.array_equal(again.logits["judge"], expected_logits(rows))
    assert score_rows(rows, [judge], **options).report.from_store == 10, "the damaged values stayed in the file"


def test_empty_fingerprint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fingerprint"):
        ResultStore(tmp_path / "r.db", "")


WRITER = """
import sys, numpy as np
from kaggle_utils.inference.store import ResultStore
start, path = int(sys.argv[1]), sys.argv[2]
store = ResultStore(path, "run")
print("go", flush=True)
for pack in range(start, 10**6, 2):
    keys = [(pack * 10 + i).to_bytes(16, "little") for i in range(10)]
    store.put_many({(k, ""): np.full(3, pack, np.float32) for k in keys})
"""


def test_killed_writers_leave_whole_packs_only(tmp_path, root):
    path = tmp_path / "r.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(i), str(path)], cwd=root, stdout=subprocess.PIPE
        )
        for i in (0, 1)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"go\n"
    time.sleep(0.5)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    with ResultStore(path, "run") as store:
        count = len(store)
        assert count > 20
        assert count % 10 == 0, "a torn pack"
        whole = [key(n) for n in range(20)]
        assert all((v == k_[0][0] // 10).all() for k_, v in store.get_many(whole).items())

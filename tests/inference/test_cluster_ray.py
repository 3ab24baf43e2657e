"""On a real Ray cluster of several nodes: one is killed, one is added, the driver is killed, and no row is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_scorers import NumpyScorer
from ray_cluster import PacedScorer, local_cluster

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.fingerprint import row_digest
from kaggle_utils.inference.specs import ScorerSpec

pytest.importorskip("ray", reason="make test installs it")
arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS, BLOCK = 20_000, 500
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster():
    from kaggle_utils.cluster import connected

    with local_cluster(nodes=2, cpus_each=1) as running, connected(running.address):
        yield running


def random_rows(count, seed=0):
    """Rows that differ, since the first tokens are their number."""
    rng = np.random.default_rng(seed)
    return [
        np.r_[i % 1000, i // 1000, rng.integers(2, 900, rng.integers(2, 30))].astype(np.int32) for i in range(count)
    ]


def write_rows(folder, rows, files=3):
    folder.mkdir()
    cuts = np.linspace(0, len(rows), files + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        ids = [f"row-{i}" for i in range(start, stop)]
        table = arrow.table({"id": ids, "input_ids": [row.tolist() for row in rows[start:stop]]})
        parquet.write_table(table, folder / f"{number}.parquet", row_group_size=3000)
    return folder


def wait_for(condition, what, seconds=150):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.02)
    return found


def marks(output):
    """The blocks that are being computed and by whom."""
    found = {}
    for path in (output / "_attempts").glob("block-*.json"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name.split(".")[0]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def logged(log):
    """Row digests by what was said of them, in the order in which it was said."""
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    return [(what, pid, digest) for what, _, pid, _, digest in lines]


def unfinished(log):
    """By process, the rows that it has begun and not scored."""
    begun: dict[str, set[str]] = {}
    for what, pid, digest in logged(log):
        begun.setdefault(pid, set())
        (begun[pid].add if what == "begin" else begun[pid].discard)(digest)
    return begun


@pytest.mark.timeout(500)
def test_a_node_is_killed_and_another_added(cluster, tmp_path):
    from kaggle_utils.inference.cluster import as_array, read_dataset, score_dataset

    rows, output, log, slow = random_rows(ROWS), tmp_path / "out", tmp_path / "log", tmp_path / "slow"
    folder = write_rows(tmp_path / "in", rows)
    slow.touch()
    # A block is one pack, and slow enough that a node which starts half a minute after the other still gets some.
    settings = {"log": str(log), "slow": str(slow), "seconds": 2.0, "max_tokens": 50_000}
    spec = ScorerSpec("judge", PacedScorer, settings, fingerprint="paced")
    doomed = cluster.nodes[-1]
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(
            score_dataset, folder, output, spec, cluster=cluster.address, workers="threads", block_rows=BLOCK,
            progress=False,
        )  # fmt: skip

        def computing(node):
            """Blocks and actors of a node; of two that an actor has, one waits."""
            assert not run.done(), run.result().to_text()
            return {name: str(who["pid"]) for name, who in marks(output).items() if who["node"] == node.node_id}

        seen: set[str] = set()

        def well_under_way():
            """The actor there has done two blocks and begins another just now."""
            now = computing(doomed)
            done = sum(what == "done" and pid in now.values() for what, pid, _ in logged(log))
            begun = {digest for pid in now.values() for digest in unfinished(log).get(pid, ())}
            fresh = begun - seen
            seen.update(begun)
            return done >= 2 * BLOCK and fresh and now

        lost = wait_for(well_under_way, "a block on the node that is to be killed")
        cluster.kill(doomed)
        added = cluster.add()
        wait_for(lambda: computing(added), "a block for the node that was added")
        slow.unlink()
        result = run.result(timeout=180)

    assert result.finished
    assert result.rows_done == result.rows == ROWS
    nodes = {report.name: report.node for report in result.blocks}
    assert len(nodes) == ROWS // BLOCK
    assert doomed.node_id in nodes.values(), "it had finished no block, so nothing of it was kept"
    assert added.node_id in nodes.values(), "the node that was added computed nothing"
    lost = {name: pid for name, pid in lost.items() if nodes[name] != doomed.node_id}
    cut_off = {digest for pid in lost.values() for digest in unfinished(log)[pid]}
    assert cut_off, "it was not computing when it was killed"
    again = [digest for what, _, digest in logged(log) if what == "done" and digest in cut_off]
    assert set(again) == cut_off
    scored = [digest for what, _, digest in logged(log) if what == "done"]
    assert len(scored) - len(set(scored)) <= BLOCK, "more was computed twice than what was on its way"
    assert not (output / "_attempts").exists() or not marks(output)

    table = read_dataset(output)
    assert table.column("id").to_pylist() == [f"row-{i}" for i in range(ROWS)]
    assert table.column("row").to_pylist() == list(range(ROWS))
    assert table.column("problem").null_count == ROWS
    plain = ScorerSpec("judge", NumpyScorer, {})
    here = score_rows(rows, [plain], devices=["cpu"], workers="threads", progress=False)
    assert np.array_equal(as_array(table, "logits"), here.logits["judge"])


DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_scorers import NumpyScorer
from ray_cluster import PacedScorer, local_cluster
from kaggle_utils.inference.cluster import score_dataset
from kaggle_utils.inference.specs import ScorerSpec
spec = ScorerSpec("judge", NumpyScorer, {"log": sys.argv[4], "seconds_per_token": 1e-4}, fingerprint="numpy")
score_dataset(sys.argv[2], sys.argv[3], spec, cluster=sys.argv[5], workers="threads", block_rows=200, progress=False)
"""


def test_a_killed_driver_goes_on(cluster, tmp_path):
    from kaggle_utils.inference.cluster import read_dataset, score_dataset

    rows, output, log = random_rows(3000, seed=1), tmp_path / "out", tmp_path / "log"
    folder = write_rows(tmp_path / "in", rows)
    words = [sys.executable, "-c", DRIVER, str(TESTS), str(folder), str(output), str(log), cluster.address]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    driver = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(list(output.glob("block-*.parquet"))) >= 4 or driver.poll() is not None, "four blocks")
        assert driver.poll() is None, driver.stderr.read()
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    gone = lambda: not any(psutil.pid_exists(who["pid"]) for who in marks(output).values())  # noqa: E731
    wait_for(gone, "the end of the actors of a driver that is dead")  # what they finish meanwhile counts
    kept = {path.name: path.stat().st_mtime_ns for path in output.glob("block-*.parquet")}
    assert 4 <= len(kept) < 15
    said = len(logged(log))

    spec = ScorerSpec("judge", NumpyScorer, {"log": str(log)}, fingerprint="numpy")
    result = score_dataset(
        folder, output, spec, cluster=cluster.address, workers="threads", block_rows=200, progress=False
    )
    assert result.finished
    assert result.computed == 3000 - 200 * len(kept)
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("block-*.parquet") if path.name in kept} == kept
    finished = {
        row_digest(rows[i]).hex() for name in kept for i in range(200 * int(name[6:11]), 200 * int(name[6:11]) + 200)
    }
    repeated = {digest for what, _, digest in logged(log)[said:] if what == "start"} & finished
    assert not repeated
    assert read_dataset(output, columns=["row"]).num_rows == 3000
    assert not marks(output)


def test_an_actor_that_cannot_be_built_is_an_error(cluster, tmp_path):
    from kaggle_utils.inference.cluster import DatasetError, score_dataset

    folder = write_rows(tmp_path / "in", random_rows(40))
    spec = ScorerSpec("judge", NumpyScorer, {"fail_on": ["cpu"]}, fingerprint="numpy")
    started = time.monotonic()
    with pytest.raises(DatasetError, match="judge cannot be built: cpu: RuntimeError: no driver for cpu") as caught:
        score_dataset(
            folder, tmp_path / "out", spec, cluster=cluster.address, workers="threads", block_rows=10, progress=False
        )
    assert caught.value.result.rows_done == 0
    assert len(caught.value.result.missing) == 4
    assert time.monotonic() - started < 60, "it was tried again and again"
    with pytest.raises(DatasetError, match=r"has room for an actor with .*'num_gpus': 1"):
        score_dataset(folder, tmp_path / "gpu", spec, cluster="local", workers="threads", num_gpus=1, progress=False)


def test_the_command_scores_pairs_on_the_cluster(cluster, made_once, tmp_path, capsys):
    """A tiny transformer in actors, through its tokenizer, against the engine of one machine."""
    transformers = pytest.importorskip("transformers")
    from tiny_classifiers import write_tiny_classifier

    from kaggle_utils.__main__ import main
    from kaggle_utils.data.pairs import read_pairs
    from kaggle_utils.data.tokenization import PairTokenizer
    from kaggle_utils.inference.cluster import as_array, read_dataset
    from kaggle_utils.inference.judges import folder_judge
    from kaggle_utils.inference.scoring import score_pairs

    model = made_once("tiny-judge-llama", write_tiny_classifier)
    cells = {"id": [f"p{i}" for i in range(60)], "prompt": [f'["Is {i} alive?"]' for i in range(60)]}
    cells |= {"response_a": [f'["{"yes " * (i % 7 + 1)}"]' for i in range(60)], "response_b": ['["no, a thing"]'] * 60}
    parquet.write_table(arrow.table(cells), tmp_path / "pairs.parquet")
    words = [
        "score",
        str(tmp_path / "pairs.parquet"),
        str(tmp_path / "out"),
        "--model",
        str(model),
        "--max-length",
        "48",
    ]
    words += ["--cluster", cluster.address, "--block-rows", "20", "--workers", "threads", "--quiet", "--actors", "1"]
    assert main([*words, "--style", "llama", "--truncation", "middle", "--compile", "no"]) == 0
    assert "60 of 60 rows" in capsys.readouterr().out
    reader = PairTokenizer(
        transformers.AutoTokenizer.from_pretrained(model), style="llama", max_length=48, truncation="middle"
    )
    judge = folder_judge("judge", model, reader, compile=False)
    here = score_pairs(read_pairs(cells), [judge], devices=["cpu"], workers="threads", progress=False)
    table = read_dataset(tmp_path / "out")
    assert table.column("id").to_pylist() == cells["id"]
    assert np.abs(as_array(table, "probabilities") - here.probabilities).max() < 1e-5

"""Tournaments and tables over several nodes of a real Ray cluster: the same games, the same cells, each once."""

from __future__ import annotations

import collections
import time
from functools import partial

import numpy as np
import pytest
from cluster_tasks import make_players, make_truth, truth_of
from ray_cluster import local_cluster
from tables import synthetic_table

from kaggle_utils.cluster import ClusterTaskError, connected
from kaggle_utils.q20 import __main__ as commands
from kaggle_utils.q20.keywords import Keyword
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.compile_on_cluster import cluster_yes_no
from kaggle_utils.q20.knowledge.compiler import CellSource, ask_pairs, compile_cells
from kaggle_utils.q20.knowledge.table_file import save_table
from kaggle_utils.q20.tournament.on_cluster import play_matches_on_cluster
from kaggle_utils.q20.tournament.round_robin import Match, play_matches, play_side_by_side, random_matches

CELLS = 600


@pytest.fixture(scope="module", autouse=True)
def ray():
    """Two nodes for all tests here."""
    pytest.importorskip("ray")
    with local_cluster(nodes=2, cpus_each=1) as cluster, connected(cluster.address) as module:
        yield module


@pytest.fixture(scope="module")
def table():
    return synthetic_table(30, 20)


def stored(table, source, path):
    with CellJournal(path) as journal:
        texts = [table.bank.texts[number] for number in table.stored]
        return journal.read(source.key, table.objects.words, texts), journal.sources().get(source.key, 0)


def expected(table, source):
    return np.array([
        [truth_of(source.prompt.conversation(word, kind, table.bank.texts[n])[-1].content) for n in table.stored]
        for word, kind in zip(table.objects.words, table.objects.categories, strict=True)
    ], dtype=np.float32)  # fmt: skip


class Local:
    """The generator of one process."""

    def yes_no(self, conversations):
        return [truth_of(conversation[-1].content) for conversation in conversations]


@pytest.fixture
def compile_on(table, tmp_path):
    """``compile_on(**of the generator)(**of compile_cells)`` into one journal; what workers were asked is noted."""
    notes, path = tmp_path / "notes", tmp_path / "cells.db"
    notes.mkdir()

    def compile_on(options=None, **limits):
        limits |= {"chunk": 7, "batch": 50, "progress": False}
        ask = cluster_yes_no(partial(make_truth, notes, **(options or {})), cluster="auto")
        with CellJournal(path) as journal:
            return compile_cells(table, CellSource("toy"), journal, ask=ask, **limits)

    compile_on.path = path
    compile_on.asked = lambda: collections.Counter(
        line for note in notes.iterdir() for line in note.read_text().splitlines()
    )
    compile_on.nodes = lambda: {note.name.split("-")[0] for note in notes.iterdir()}
    return compile_on


# --- tables --------------------------------------------------------------------------------------------------------


def test_a_table_is_compiled_by_all_nodes_and_what_a_lost_worker_had_is_asked_again(table, compile_on):
    source = CellSource("toy")
    assert compile_on(time_limit=0).asked == 0 and not compile_on.asked()
    report = compile_on({"nodes": 2, "dies": True})
    assert (report.asked, report.known, report.left) == (CELLS, 0, 0)
    values, count = stored(table, source, compile_on.path)
    assert count == CELLS and np.array_equal(values, expected(table, source)), "each is stored once"
    assert len(compile_on.nodes()) == 2
    assert len(compile_on.asked()) == CELLS
    assert 0 < sum(times - 1 for times in compile_on.asked().values()) <= 2 * 56, "two batches may have been its"
    assert compile_on().asked == 0


def test_a_run_that_failed_or_was_interrupted_goes_on_where_it_was(ray, table, compile_on, monkeypatch):
    source, word, put = CellSource("toy"), table.objects.words[0], CellJournal.put
    with pytest.raises(ClusterTaskError, match="nothing can be said of"):
        compile_on({"fails_on": word})
    values, count = stored(table, source, compile_on.path)
    assert 0 < count < CELLS and np.isnan(values[0]).any() and len(compile_on.asked()) == CELLS

    def interrupted(self, *arguments):
        put(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(CellJournal, "put", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        compile_on(budget=50)
    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert ray.available_resources()["CPU"] == 2, f"workers outlive {error}"
    values, after = stored(table, source, compile_on.path)
    assert count < after < CELLS
    assert np.array_equal(values[~np.isnan(values)], expected(table, source)[~np.isnan(values)])


def test_others_are_asked_in_place_of_a_generator(table, tmp_path):
    """Whoever answers, in whatever order; with nobody to ask that is said."""
    source = CellSource("toy")
    pairs = [(word, "things", "Is it one?") for word in table.objects.words]

    def backwards(batches):
        for number, batch in reversed(list(enumerate(batches))):
            yield number, Local().yes_no(batch)

    with CellJournal(tmp_path / "cells.db") as journal:
        said = ask_pairs(source, journal, pairs, batch=8, ask=backwards)
        assert np.array_equal(
            said, np.array([truth_of(source.prompt.conversation(*p)[-1].content) for p in pairs], "f4")
        )
        assert np.array_equal(ask_pairs(source, journal, pairs), said), "nobody needs to be asked again"
        compile_cells(table, source, journal, budget=300, batch=50, progress=False, ask=backwards)
        other = CellSource("other", Local())
        compile_cells(table, other, journal, budget=300, batch=50, progress=False)
        assert compile_cells(table, source, journal, budget=0).asked == 0, "nobody is needed for nothing"
        with pytest.raises(ValueError, match="has no generator"):
            compile_cells(table, source, journal, progress=False)
        with pytest.raises(ValueError, match="values came for a batch of 300 cells"):
            compile_cells(table, source, journal, progress=False, ask=lambda batches: ((0, [0.5]) for _ in batches))
    values, count = stored(table, source, tmp_path / "cells.db")
    assert count == 300 + len(pairs)
    assert np.array_equal(values, stored(table, other, tmp_path / "cells.db")[0], equal_nan=True), "the same cells"


# --- tournaments ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matches():
    keywords = [Keyword(t.word, t.category, t.aliases, ("1",)) for t in synthetic_table(60, 80, seed=1).objects]
    return random_matches(5, keywords, games=6, seed=3)


def test_a_tournament_has_the_records_of_one_process(matches):
    local = play_matches(make_players(4), matches, chunk=5, progress=False)
    spread = play_matches_on_cluster(partial(make_players, 4), matches, chunk=2, cluster="auto", progress=False)
    assert spread == local
    assert spread.standings(replicas=5) == local.standings(replicas=5)


def test_a_tournament_says_which_games_cannot_be_played(matches):
    with pytest.raises(ValueError, match="chunk is 0"):
        play_matches_on_cluster(partial(make_players, 4), matches, chunk=0)
    wrong = Match(matches[0].keyword, (0, 1, 2, 9))
    with pytest.raises(ValueError, match=r"players \[9\]"):
        play_side_by_side(make_players(4), [wrong])
    assert play_matches_on_cluster(partial(make_players, 4), [], progress=False).players[0] == "perfect"


def test_the_arena_plays_the_same_games_on_a_cluster(tmp_path, capsys):
    save_table(synthetic_table(120, 60, seed=1), tmp_path / "small.q20")
    words = ["arena", "--games", "1", "--table", str(tmp_path / "small.q20"), "--seed", "1", "-o"]
    for name, further in (("local", []), ("spread", ["--cluster", "auto"])):
        assert commands.main([*words, str(tmp_path / name), *further]) == 0
    assert (tmp_path / "local").read_bytes() == (tmp_path / "spread").read_bytes()
    one, two = capsys.readouterr().out.split("games: ")[:2]
    assert one.splitlines()[1:] == two.splitlines()[2:]
    assert commands.main([*words, str(tmp_path / "none"), "--worker-gpus", "-1", "--cluster", "auto"]) == 2

"""The compiler: order, budgets, kills, several sources, and a real small model."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.answerer.prompts import PROMPTS
from kaggle_utils.q20.knowledge.calibration import fit_calibration
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.cell_order import grouped_cells, most_valuable_cells
from kaggle_utils.q20.knowledge.compiler import CellSource, ask_pairs, compile_cells
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.refining import refined_table
from kaggle_utils.q20.knowledge.table import KnowledgeTable


@pytest.fixture(scope="module")
def table():
    return synthetic_table(30, 20, lexical=True)


def truth_of(text):
    """P(yes) as a function of the prompt alone, as a model's is: the same in every batch."""
    return 0.05 + 0.9 * ((sum(map(ord, text)) * 7919) % 1000) / 1000


class Model:
    """Answers by ``truth_of`` and counts."""

    def __init__(self, stop_after=None):
        self.asked, self.calls, self.stop_after = [], [], stop_after

    def yes_no(self, conversations):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        texts = [conversation[-1].content for conversation in conversations]
        self.asked += texts
        self.calls.append(len(texts))
        return [truth_of(text) for text in texts]


def expected(table, prompt):
    texts = [table.bank.texts[number] for number in table.stored]
    return np.array([
        [truth_of(prompt.conversation(word, kind, text)[-1].content) for text in texts]
        for word, kind in zip(table.objects.words, table.objects.categories, strict=True)
    ], dtype=np.float32)  # fmt: skip


def stored(table, source, journal):
    return journal.read(source.key, table.objects.words, [table.bank.texts[number] for number in table.stored])


def test_every_semantic_cell_is_asked_once(table, tmp_path):
    model = Model()
    source = CellSource("toy", model)
    with CellJournal(tmp_path / "cells.db") as journal:
        report = compile_cells(table, source, journal, chunk=7, batch=50, progress=False)
        assert (report.asked, report.known, report.left) == (600, 0, 0)
        assert report.cells_per_second > 0
        assert len(set(model.asked)) == 600, "semantic cells only, none twice"
        assert all(calls <= 56 for calls in model.calls), "whole chunks up to about a batch"
        assert np.array_equal(stored(table, source, journal), expected(table, source.prompt))
        again = compile_cells(table, source, journal, progress=False)
        assert (again.asked, again.known) == (0, 600)
    assert len(model.asked) == 600


def test_the_most_valuable_cells_come_first(table):
    known = np.zeros((30, 20), dtype=bool)
    known[3, :] = True
    theta = table.rows(np.arange(30))[:, table.stored]
    entropy = -(theta * np.log2(theta) + (1 - theta) * np.log2(1 - theta))
    chunks = list(most_valuable_cells(table, known, chunk=5))
    worth = [table.objects.prior[index] * entropy[index, places].mean() for index, places in chunks]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 1.5 * worth[-1]
    cells = {(index, place) for index, places in chunks for place in places.tolist()}
    assert cells == {(index, place) for index in range(30) if index != 3 for place in range(20)}
    groups = list(grouped_cells(iter(chunks), goal=33, batch=10))
    assert sum(len(places) for group in groups for _, places in group) == 33
    assert {index for group in groups for index, _ in group} <= {index for index, _ in chunks[:7]}


def test_a_budget_and_a_time_limit_end_a_run_that_can_go_on(table, tmp_path):
    source = CellSource("toy", Model())
    with CellJournal(tmp_path / "cells.db") as journal:
        assert compile_cells(table, source, journal, budget=101, batch=40, progress=False).left == 499
        assert compile_cells(table, source, journal, time_limit=0, progress=False).asked == 0
        assert compile_cells(table, source, journal, progress=False).asked == 499
        assert np.array_equal(stored(table, source, journal), expected(table, source.prompt))


def test_an_interrupted_run_asks_nothing_twice(table, tmp_path):
    model = Model(stop_after=200)
    source = CellSource("toy", model)
    with CellJournal(tmp_path / "cells.db") as journal:
        with pytest.raises(KeyboardInterrupt):
            compile_cells(table, source, journal, batch=40, progress=False)
        model.stop_after = None
        compile_cells(table, source, journal, batch=40, progress=False)
        assert len(model.asked) == len(set(model.asked)) == 600
        assert np.array_equal(stored(table, source, journal), expected(table, source.prompt))


KILLED = """
import sys, time
sys.path[:0] = [{tests!r}, {here!r}]
from tables import synthetic_table
from test_compiler import Model
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.compiler import CellSource, compile_cells

class Slow(Model):
    def yes_no(self, conversations):
        print(len(self.asked), flush=True)
        time.sleep(0.02)
        return super().yes_no(conversations)

compile_cells(synthetic_table(30, 20), CellSource("toy", Slow()), CellJournal({path!r}), chunk=4, batch=12,
              progress=False)
"""


def test_a_killed_process_loses_at_most_a_batch(table, tmp_path):
    """SIGKILL in the middle, twice: what was written is whole, the rest is asked, the result is the same."""
    path, here = tmp_path / "cells.db", Path(__file__).resolve().parent
    code = KILLED.format(tests=str(here.parents[1]), here=str(here), path=str(path))
    counts = []
    for lines in (8, 15):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        seen = [int(process.stdout.readline()) for _ in range(lines)]
        time.sleep(0.01 * (lines % 3))  # in the midst of an answer or of a write
        process.send_signal(signal.SIGKILL)
        process.wait()
        with CellJournal(path) as journal:
            counts.append(sum(journal.sources().values()))
        assert process.returncode == -signal.SIGKILL
        assert counts[-1] >= seen[-1] + (counts[-2] if len(counts) > 1 else 0), "an answered batch is lost"
    model = Model()
    source = CellSource("toy", model)
    with CellJournal(path) as journal:
        report = compile_cells(table, source, journal, progress=False)
        assert 0 < counts[0] < counts[1] == report.known == 600 - report.asked
        assert np.array_equal(stored(table, source, journal), expected(table, source.prompt))


def test_sources_are_averaged_and_added_to_the_table(table, tmp_path):
    flat = KnowledgeTable(table.objects, table.bank, np.full((30, 20), 128, dtype=np.uint8))
    one, two = CellSource("one", Model(), weight=3), CellSource("two", Model(), PROMPTS["it"])
    with CellJournal(tmp_path / "cells.db") as journal:
        compile_cells(flat, one, journal, progress=False)
        compile_cells(flat, two, journal, budget=300, progress=False)
        assert set(journal.sources().values()) == {600, 300}
        refined = refined_table(flat, [one, two], journal).rows(np.arange(30))[:, flat.stored]
        a, b = stored(flat, one, journal), stored(flat, two, journal)
        odds = np.log(a / (1 - a))
        both = ~np.isnan(b)
        odds[both] = (3 * odds[both] + np.log(b[both] / (1 - b[both]))) / 4
        assert np.allclose(refined, 1 / (1 + np.exp(-odds)), atol=0.012), "one byte a cell"
        once = refined_table(table, [two], journal)
        assert np.array_equal(once.by_object[~both], table.by_object[~both]), "nobody was asked about these"
        assert not np.array_equal(once.by_object[both], table.by_object[both])
        with pytest.raises(ValueError, match="different names"):
            refined_table(table, [one, one], journal)


def test_labelled_pairs_calibrate_a_source(table, tmp_path):
    model = Model()
    pairs = [(word, "things", f"Is it number {n}?") for word in table.objects.words for n in range(10)]
    source = CellSource("toy", model)
    with CellJournal(tmp_path / "cells.db") as journal:
        said = ask_pairs(source, journal, [*pairs, pairs[0]], batch=64)
        assert said[0] == said[-1]
        assert np.array_equal(said, ask_pairs(source, journal, [*pairs, pairs[0]]))
        assert len(model.asked) == 301, "asked once; the repetition within one batch counts"
        labels = np.random.default_rng(0).random(len(pairs)) < 0.2
        curve = fit_calibration(said[:-1], labels, ["any"] * len(pairs), method="platt")
        compile_cells(table, source, journal, progress=False)
        flat = KnowledgeTable(table.objects, table.bank, np.full((30, 20), 128, dtype=np.uint8))
        tuned = refined_table(flat, [CellSource("toy", model, calibrate=curve.apply)], journal)
        assert tuned.rows(np.arange(30))[:, table.stored].mean() == pytest.approx(0.2, abs=0.05)


def test_families_keep_their_scales(table, tmp_path):
    name = table.bank.families[int(table.stored[0])]
    steep = KnowledgeTable(
        table.objects, table.bank, table.by_object, family_levels={name: np.linspace(0.2, 0.8, 256, dtype=np.float32)}
    )
    source = CellSource("toy", Model())
    with CellJournal(tmp_path / "cells.db") as journal:
        compile_cells(steep, source, journal, progress=False)
        refined = refined_table(steep, [source], journal, table_weight=0).rows(np.arange(30))[:, steep.stored]
    own = np.array([steep.bank.families[number] == name for number in steep.stored])
    wanted = expected(steep, source.prompt)
    assert np.allclose(refined[:, ~own], wanted[:, ~own], atol=0.012)
    assert np.allclose(refined[:, own], np.clip(wanted[:, own], 0.2, 0.8), atol=0.003)


def test_two_processes_number_questions_alike(tmp_path):
    with CellJournal(tmp_path / "cells.db") as one, CellJournal(tmp_path / "cells.db") as two:
        one.put("toy", [("cat", ["a", "b"], np.array([0.1, 0.2]))])
        two.put("toy", [("dog", ["c", "b"], np.array([0.3, 0.4]))])
        one.put("toy", [("cow", ["c"], np.array([0.5]))])
        for journal in (one, two):
            found = journal.read("toy", ["cat", "dog", "cow"], ["a", "b", "c"])
            assert found.round(1).tolist() == pytest.approx(
                np.array([[0.1, 0.2, np.nan], [np.nan, 0.4, 0.3], [np.nan, np.nan, 0.5]]), nan_ok=True
            )


def test_cells_survive_another_order_of_the_table(table, tmp_path):
    model = Model()
    source = CellSource("toy", model)
    with CellJournal(tmp_path / "cells.db") as journal:
        compile_cells(table.subset(np.arange(20)), source, journal, progress=False)
        order = np.random.default_rng(0).permutation(30)
        mixed = table.subset(order, np.random.default_rng(1).permutation(len(table.bank)))
        assert compile_cells(mixed, source, journal, progress=False).known == 400
        assert np.array_equal(stored(mixed, source, journal), expected(mixed, source.prompt))


def test_a_prompt_of_other_words_is_another_source():
    import dataclasses

    model = Model()
    changed = dataclasses.replace(PROMPTS["named"], pattern=PROMPTS["named"].pattern + "!")
    assert CellSource("toy", model).key != CellSource("toy", model, changed).key


def test_journals_refuse_what_they_cannot_keep(tmp_path):
    (tmp_path / "text").write_text("no journal " * 100)
    with pytest.raises(ValueError, match="no journal of cells"):
        CellJournal(tmp_path / "text")
    with CellJournal(tmp_path / "cells.db") as journal:
        for bad in (np.array([0.5, np.nan]), np.array([0.5, 1.5]), np.array([0.5])):
            with pytest.raises(ValueError, match="one probability for each"):
                journal.put("toy", [("cat", ["a", "b"], np.array([0.1, 0.2])), ("dog", ["a", "c"], bad)])
        assert journal.sources() == {}, "all or nothing"
        journal.put("toy", [("cat", ["a", "b"], np.array([0.1, 0.2]))])
        journal.put("toy", [("cat", ["b"], np.array([0.9]))])
        assert journal.read("toy", ["cat", "dog"], ["b", "z", "a"])[0].tolist() == pytest.approx(
            [0.9, np.nan, 0.1], nan_ok=True
        )
    with CellJournal(tmp_path / "cells.db") as journal:
        assert np.isnan(journal.read("toy", ["dog"], ["a"])).all()
        assert journal.read("toy", ["cat"], ["a"])[0, 0] == pytest.approx(0.1)


@pytest.mark.slow
def test_a_real_model_fills_cells_with_shared_prefixes(smollm2, tmp_path):
    """SmolLM2 compiles a corner of a table; what is stored is what it says to one prompt at a time."""
    from kaggle_utils.inference.generation import HFGenerator
    from kaggle_utils.inference.prefix_yes_no import PrefixYesNo
    from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank

    bank = QuestionBank([BankQuestion(text, "made up") for text in ("Is it alive?", "Can you eat it?")])
    small = synthetic_table(2, 2, lexical=False)
    table = KnowledgeTable(small.objects, bank, encode(np.full((2, 2), 0.5)))
    generator = HFGenerator.from_folder(smollm2, device_map="cpu", dtype="float32")
    source = CellSource("smollm2", PrefixYesNo(generator))
    with CellJournal(tmp_path / "cells.db") as journal:
        assert compile_cells(table, source, journal, progress=False).asked == 4
        found = journal.read(source.key, table.objects.words, bank.texts)
        first = source.prompt.conversation(table.objects.words[0], table.objects.categories[0], bank.texts[0])
        assert found[0, 0] == pytest.approx(generator.yes_no([first])[0], abs=1e-3)
        refined = refined_table(table, [source], journal).theta
        assert np.allclose(refined, found, atol=0.012)

"""The parts of the table's compiler that need no fetched package, and the script that refines it with a model."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.refining import refined_table
from kaggle_utils.q20.knowledge.table_file import load_table, save_table

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


def tiny_wordnet():
    """canopy above tent, awning, parasol, marquee and umbrella; tool, far from them."""
    from table_wordnet import Synset, WordNet

    names = ["canopy", "tent", "awning", "parasol", "marquee", "umbrella", "tool"]
    synsets = {
        name: Synset(name, 6, (name,), {"@": ["canopy"]} if name not in ("canopy", "tool") else {}, f"a {name}", {})
        for name in names
    }
    return WordNet(synsets, {name: [synset] for name, synset in synsets.items()})


def test_spellings_of_one_word_are_one_thing_and_synonyms_are_two():
    from table_objects import same_word

    for one, other in [("organization", "organisation"), ("counseling", "counselling"), ("colour", "color"),
                       ("theater", "theatre"), ("ax", "axe"), ("hot-dog", "hot dog"), ("catalog", "catalogue"),
                       ("doughnut", "donut"), ("omelet", "omelette"), ("pajamas", "pajamas")]:  # fmt: skip
        assert same_word(one, other), (one, other)
    for one, other in [("plane", "airplane"), ("phone", "telephone"), ("cat", "car"), ("couch", "coach"),
                       ("sofa", "couch"), ("desert", "desk")]:  # fmt: skip
        assert not same_word(one, other), (one, other)


def test_an_animal_is_worth_more_the_larger_it_is():
    from table_scales import animal_price, scale_answers

    cow, hamster = (scale_answers(size, animal_price(size), physical=True) for size in (5.8, 2.8))
    assert cow["Does one usually cost less than two dollars?"] < 0.1
    assert cow["Does one usually cost more than a thousand dollars?"] > 0.7
    assert hamster["Does one usually cost more than ten dollars?"] > 0.5
    assert hamster["Does one usually cost more than two hundred dollars?"] < 0.1


def test_silence_counts_for_less_beside_kin_that_has_the_trait():
    from table_kin import kin_answers, kin_shares
    from table_objects import Entry
    from table_traits import Card

    wordnet = tiny_wordnet()
    entries = [Entry(name, "things", 1.0, synset=wordnet.senses[name][0], card=Card())
               for name in ("tent", "awning", "parasol", "marquee")]  # fmt: skip
    entries += [Entry("umbrella", "things", 1.0, synset=wordnet.senses["umbrella"][0]),
                Entry("tool", "things", 1.0, synset=wordnet.senses["tool"][0])]  # fmt: skip
    columns = np.array([[0.95, 0.95, 0.95, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.05, 0.05, 0.05]], np.float32)
    filled = kin_answers(wordnet, entries, columns, columns < 0.1)
    assert 0.15 < filled[0, 4] <= 0.3, "three of four that hang above people stand outdoors: no longer a sure no"
    assert filled[1, 4] == filled[0, 5] == np.float32(0.05)
    assert np.array_equal(filled[:, :4], columns[:, :4]), "a keyword's card is complete"
    said = kin_answers(wordnet, entries, columns, np.zeros_like(columns, bool))
    assert np.array_equal(said, columns)
    alone = kin_shares(wordnet, entries, columns > 0.5, leave_out=True)
    assert alone[0, 0] == 0, "three are too few to judge the fourth by"


def test_questions_that_answerers_read_as_one_are_kept_once():
    from table_choice import worded_once

    column = np.zeros(3, np.float32)
    texts = ["Does it have a tail?", "Does it normally have a tail?", "Does it have wheels?"]
    assert [text for text, _, _ in worded_once([(text, "any", column) for text in texts])] == [texts[0], texts[2]]


def test_lists_by_trait_become_cards(monkeypatch):
    import table_traits

    def rows(name):
        return {"common.txt": ["eat: cake sea_bass lemon~", "-eat: shoe", "s2: lemon"]}[name]

    traits = table_traits.Traits.__new__(table_traits.Traits)
    traits._names = {"eat"}
    monkeypatch.setattr(table_traits, "rows", rows)
    cards = traits._common()
    assert cards["cake"].traits == cards["sea bass"].traits == {"eat": table_traits.OWN}
    assert cards["lemon"].traits == {"eat": 0.5} and cards["lemon"].size == 2.0
    assert cards["shoe"].traits == {"eat": table_traits.REFUSED}
    monkeypatch.setattr(table_traits, "rows", lambda name: ["tasty: cake"])
    with pytest.raises(ValueError, match="tasty"):
        traits._common()


class Yea:
    """Says P(yes) = .9, whatever is asked."""

    def yes_no(self, conversations):
        return [0.9] * len(conversations)


def test_a_table_is_refined_by_several_models_within_a_budget(tmp_path):
    from refine_table import ask

    table = synthetic_table(30, 20, lexical=True)
    labels = [(table.objects.words[i], table.bank.texts[table.stored[i % 20]], i % 5 == 0) for i in range(30)]
    with CellJournal(tmp_path / "cells.db") as journal:
        plain = ask(table, "one", Yea(), journal, budget=100)
        refined = refined_table(table, plain, journal)
        assert (refined.by_object != table.by_object).sum() <= 100
        assert (refined.by_object.astype(int) >= table.by_object).all(), "nobody spoke for no"
        tuned = ask(table, "one", Yea(), journal, budget=100, prompts=("named", "it"), labels=labels)
        assert len(tuned) == 2 and tuned[0].generator is None
        said = tuned[0].calibrate(np.array([0.9]), ["any"])
        assert said[0] < 0.5, "it says yes to all, and one in five is"


def test_labelled_cells_are_checked(tmp_path):
    from refine_table import LABELS, labelled_cells

    rows = labelled_cells(LABELS)
    assert len(rows) >= 200 and {answer for _, _, answer in rows} == {True, False}
    path = tmp_path / "bad.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["word", "question", "answer"], ["cat", "Is it alive?", "maybe"]])
    with pytest.raises(ValueError, match=r"yes or no.*\[2\]"):
        labelled_cells(path)


def test_the_script_refines_a_table_with_the_model_of_a_folder(tiny_llama, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    import refine_table

    monkeypatch.chdir(tmp_path)
    save_table(synthetic_table(3, 4, lexical=False), "in.q20")
    arguments = ["--model", str(tiny_llama), "--table", "in.q20", "--budget", "6", "--device", "cpu"]
    refine_table.main([*arguments, "--dtype", "float32"])
    before, after = load_table("in.q20"), load_table("refined.q20")
    assert 0 < (before.by_object != after.by_object).sum() <= 6
    with pytest.raises(SystemExit):
        refine_table.main(["--model", str(tmp_path / "nothing")])


def test_the_shipped_table_is_calibrated():
    from table_calibration import load_curves

    curves, table = load_curves(), load_table()
    assert curves is not None and all(slope > 0 for slope, _ in curves.by_family.values())
    assert set(table.family_levels) == {table.bank.families[number] for number in table.stored}

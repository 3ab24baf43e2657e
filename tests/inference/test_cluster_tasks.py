"""Judges, token functions and generators as block tasks, without Ray: the same values as on one machine."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_pairs import ByteTokenizer
from fake_scorers import LengthJudge, NumpyScorer, expected_logits
from fakes import FakeGenerator

from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.data.pairs import read_pairs
from kaggle_utils.inference.answer_rules import fit_rules
from kaggle_utils.inference.cluster.tasks import each_alone
from kaggle_utils.inference.scoring import Judge, score_pairs
from kaggle_utils.inference.specs import ScorerSpec

arrow = pytest.importorskip("pyarrow", reason="make test installs it")
parquet = pytest.importorskip("pyarrow.parquet")

HERE = {"cluster": None, "workers": "threads", "block_rows": 16, "progress": False}


def judges():
    return [
        Judge(ScorerSpec("one", LengthJudge, {"bias": 3.0}, fingerprint="1"), ByteTokenizer(), weight=2.0),
        Judge(ScorerSpec("two", LengthJudge, {}, fingerprint="2"), ByteTokenizer(), temperature=1.5, swapped=True),
    ]


def pair_cells(count=50):
    rng = np.random.default_rng(0)
    answers = [[f'["{letter * n}"]' for n in rng.integers(1, 30, count)] for letter in "ab"]
    cells = {"id": list(range(count)), "prompt": [f'["question {i}"]' for i in range(count)]}
    cells |= {"response_a": answers[0], "response_b": answers[1], "winner": ["x"] * count}
    cells["response_a"][7] = cells["response_b"][7]
    return cells


def write(folder, cells):
    folder.mkdir()
    half = len(next(iter(cells.values()))) // 2
    parquet.write_table(arrow.table({name: column[:half] for name, column in cells.items()}), folder / "a.parquet")
    parquet.write_table(arrow.table({name: column[half:] for name, column in cells.items()}), folder / "b.parquet")
    return folder


@pytest.mark.parametrize("swap", ["none", "all"])
def test_judges_give_what_score_pairs_gives(tmp_path, swap):
    from kaggle_utils.inference.cluster import as_array, read_dataset, score_dataset

    cells = pair_cells()
    table = read_pairs({name: cells[name] for name in ("id", "prompt", "response_a", "response_b")})
    labels = np.arange(50) % 3
    rules = fit_rules(table.pairs, labels, num_labels=3, min_count=1) if swap == "all" else None
    here = score_pairs(table, judges(), devices=["cpu"], workers="threads", swap=swap, rules=rules, progress=False)
    source = write(tmp_path / "in", cells)
    result = score_dataset(source, tmp_path / "out", judges(), swap=swap, rules=rules, keep=["id", "winner"], **HERE)
    assert (result.finished, result.problems) == (True, 0)
    found = read_dataset(tmp_path / "out")
    assert found.column_names == ["row", "id", "winner", "probabilities", "problem"]
    assert found.column("id").to_pylist() == table.ids
    assert np.array_equal(as_array(found, "probabilities"), here.probabilities)


def test_pairs_that_cannot_be_read_or_tokenised_are_named(tmp_path):
    from kaggle_utils.inference.cluster import as_array, read_dataset, score_dataset

    cells = pair_cells()
    cells["prompt"][5], cells["response_b"][30], cells["prompt"][12] = "[no json", '{"a": 1}', '["refuse"]'
    good = [i for i in range(50) if i not in (5, 12, 30)]
    table = read_pairs({name: [cells[name][i] for i in good] for name in ("id", "prompt", "response_a", "response_b")})
    here = score_pairs(table, [picky()], devices=["cpu"], workers="threads", progress=False)
    source = write(tmp_path / "in", cells | {"question": cells.pop("prompt")})
    for output, prior in ((tmp_path / "nan", None), (tmp_path / "prior", [0.5, 0.3, 0.2])):
        result = score_dataset(source, output, picky(), columns={"prompt": "question"}, prior=prior, **HERE)
        assert (result.finished, result.problems) == (True, 3)
        found = read_dataset(output)
        problems = {i: text for i, text in enumerate(found.column("problem").to_pylist()) if text}
        assert set(problems) == {5, 12, 30}
        assert problems[5].startswith("question: ")
        assert problems[30].startswith("response_b: ")
        assert "one cannot tokenise it: ValueError: a word that is refused" in problems[12]
        values = as_array(found, "probabilities")
        assert np.array_equal(values[good], here.probabilities)
        expected = np.full((3, 3), np.nan) if prior is None else np.tile(prior, (3, 1))
        assert np.array_equal(values[[5, 12, 30]], expected, equal_nan=True)


class PickyTokenizer(ByteTokenizer):
    def encode(self, pairs, *, swapped=False):
        if any("refuse" in pair.prompt for pair in pairs):
            raise ValueError("a word that is refused")
        return super().encode(pairs, swapped=swapped)


def picky():
    return dataclasses.replace(judges()[0], tokenizer=PickyTokenizer())


def first_and_last(columns):
    return [[ord(a[0]), ord(b[-1])] for a, b in zip(columns["a"], columns["b"], strict=True)]


def test_rows_of_a_function(tmp_path):
    from kaggle_utils.inference.cluster import as_array, read_dataset, score_dataset

    words = [f"{chr(97 + i % 26)}{i}" for i in range(40)]
    source = write(tmp_path / "in", {"a": words, "b": words[::-1]})
    spec = ScorerSpec("judge", NumpyScorer, {}, fingerprint="1")
    score_dataset(source, tmp_path / "out", spec, rows=first_and_last, reads=["a", "b"], **HERE)
    rows = first_and_last({"a": words, "b": words[::-1]})
    table = read_dataset(tmp_path / "out")
    assert np.array_equal(as_array(table, "logits"), expected_logits(rows))
    with pytest.raises(ValueError, match="name the columns that it takes"):
        score_dataset(source, tmp_path / "other", spec, rows=first_and_last, **HERE)


def test_the_first_block_decides_how_texts_are_written(tmp_path):
    from kaggle_utils.inference.cluster import read_dataset, score_dataset

    cells = pair_cells(40)
    for name in ("prompt", "response_a", "response_b"):
        cells[name] = [f"text {i}" if i < 20 else '["text"]' for i in range(40)]
    source = write(tmp_path / "in", cells)
    score_dataset(source, tmp_path / "plain", judges()[0], **HERE)
    score_dataset(source, tmp_path / "json", judges()[0], text="json", **HERE)
    broken = [text is not None for text in read_dataset(tmp_path / "json").column("problem").to_pylist()]
    assert broken == [True] * 20 + [False] * 20
    assert read_dataset(tmp_path / "plain").column("problem").null_count == 40


def test_ways_that_need_all_rows_are_refused(tmp_path):
    from kaggle_utils.inference.cluster import generate_dataset, score_dataset

    source = write(tmp_path / "in", pair_cells(8))
    with pytest.raises(ValueError, match="swap is 'uncertain'"):
        score_dataset(source, tmp_path / "out", judges(), swap="uncertain", **HERE)
    with pytest.raises(ValueError, match="swap is for judges"):
        score_dataset(source, tmp_path / "out", judges()[0].spec, swap="all", **HERE)
    with pytest.raises(ValueError, match=r"settings\.time_limit is 5"):
        generate_dataset(source, tmp_path / "out", talker(), settings=GenerationSettings(time_limit=5), **HERE)
    assert not (tmp_path / "out").exists()


def test_a_function_of_the_script_needs_threads(tmp_path, monkeypatch):
    """A process on another machine would look for it in vain."""
    from kaggle_utils.inference.cluster import score_dataset

    monkeypatch.setattr(NumpyScorer, "__module__", "__main__")
    source = write(tmp_path / "in", {"input_ids": [[1, 2]] * 4})
    spec = ScorerSpec("judge", NumpyScorer, {}, fingerprint="1")
    with pytest.raises(ValueError, match="NumpyScorer is defined in the script"):
        score_dataset(source, tmp_path / "out", spec, **HERE | {"workers": "processes"})
    assert score_dataset(source, tmp_path / "out", spec, **HERE).finished


class Talker(FakeGenerator):
    """Answers with the question turned round; some words it cannot bear."""

    def generate(self, conversations, settings=None):
        texts = [conversation[-1].content for conversation in conversations]
        if "bad" in texts:
            raise ValueError("that word")
        return [f"{text[::-1]}{settings.max_new_tokens}" for text in texts]

    def yes_no(self, conversations):
        texts = [conversation[-1].content for conversation in conversations]
        if "bad" in texts:
            raise ValueError("that word")
        return [len(text) / 100 for text in texts]


def make_talker(*, device, error=None):
    assert device == "cpu"
    return Broken(error) if error else Talker()


class Broken(FakeGenerator):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def generate(self, conversations, settings=None):
        raise RuntimeError(self.error)


def talker(**options):
    from kaggle_utils.inference.cluster import GeneratorSpec

    return GeneratorSpec("talker", make_talker, options, fingerprint="1")


def test_replies_and_yes_no_in_order_with_their_problems(tmp_path):
    from kaggle_utils.inference.cluster import generate_dataset, read_dataset, yes_no_dataset

    prompts = [f"question {i}" for i in range(40)]
    prompts[9], prompts[33] = "bad", None
    source = write(tmp_path / "in", {"id": list(range(40)), "prompt": prompts})
    settings = GenerationSettings(max_new_tokens=7)
    result = generate_dataset(source, tmp_path / "text", talker(), settings=settings, **HERE)
    assert (result.finished, result.problems) == (True, 2)
    table = read_dataset(tmp_path / "text")
    expected = [None if i in (9, 33) else f"{text[::-1]}7" for i, text in enumerate(prompts)]
    assert table.column("text").to_pylist() == expected
    problems = table.column("problem").to_pylist()
    assert problems[9] == "ValueError: that word"
    assert problems[33].startswith("a conversation cannot be made from NoneType")
    yes_no_dataset(source, tmp_path / "yes", talker(), **HERE)
    expected = [None if i in (9, 33) else len(text) / 100 for i, text in enumerate(prompts)]
    assert read_dataset(tmp_path / "yes").column("p_yes").to_pylist() == expected


def test_a_generator_that_always_fails_is_an_error_not_a_column_of_problems(tmp_path):
    from kaggle_utils.inference.cluster import DatasetError, generate_dataset

    source = write(tmp_path / "in", {"prompt": [f"question {i}" for i in range(400)]})
    with pytest.raises(DatasetError, match=r"16 blocks failed one after another.*the weights are damaged") as caught:
        generate_dataset(source, tmp_path / "out", talker(error="the weights are damaged"), **HERE)
    assert caught.value.result.rows_done == 0


def test_a_device_that_is_lost_ends_the_process_and_its_block_is_marked(tmp_path):
    """An actor exits then, and Ray starts it again; this process can only say so."""
    from kaggle_utils.inference.cluster import DatasetError, generate_dataset

    source = write(tmp_path / "in", {"prompt": [f"question {i}" for i in range(20)]})
    lost = talker(error="CUDA error: an illegal memory access was encountered")
    with pytest.raises(DatasetError, match=r"nothing more can be computed in this process: CUDA error"):
        generate_dataset(source, tmp_path / "out", lost, **HERE)
    assert list((tmp_path / "out" / "_attempts").glob("block-00000.*.json"))


def test_a_conversation_is_a_list_of_turns_and_the_real_generator_gives_what_it_gives(tiny_llama, tmp_path):
    """A tiny Llama from a folder, as an actor loads it, against the generator itself."""
    from kaggle_utils.chat.messages import assistant, system, user
    from kaggle_utils.inference.cluster import folder_generator, generate_dataset, read_dataset, yes_no_dataset
    from kaggle_utils.inference.generation import HFGenerator

    asked = [(system("Be brief."), user(f"Is {word} alive?"), assistant("Why?"), user(word)) for word in "abcdef"]
    cells = [[{"role": turn.role, "content": turn.content} for turn in turns] for turns in asked]
    source = write(tmp_path / "in", {"chat": cells})
    spec = folder_generator("tiny", tiny_llama, dtype="float32", batch_size=2)
    generator = HFGenerator.from_folder(tiny_llama, device_map="cpu", dtype="float32", batch_size=2)
    settings = GenerationSettings(max_new_tokens=5)
    generate_dataset(source, tmp_path / "text", spec, prompt="chat", settings=settings, **HERE)
    assert read_dataset(tmp_path / "text").column("text").to_pylist() == generator.generate(asked, settings)
    yes_no_dataset(source, tmp_path / "yes", spec, prompt="chat", **HERE)
    found = read_dataset(tmp_path / "yes").column("p_yes").to_numpy()
    assert np.abs(found - generator.yes_no(asked)).max() < 1e-6


def test_each_alone_finds_the_culprits_in_few_calls():
    calls = []

    def half(items):
        calls.append(len(items))
        if -1 in items:
            raise ValueError("minus one")
        return [item / 2 for item in items]

    items = list(range(256))
    items[77] = -1
    results, problems = each_alone(half, items)
    assert problems == {77: "ValueError: minus one"}
    assert results == [None if i == 77 else i / 2 for i in range(256)]
    assert len(calls) <= 17
    with pytest.raises(ValueError, match="minus one"):
        each_alone(half, [-1, -1, -1])
    assert each_alone(half, [-1])[1] == {0: "ValueError: minus one"}
    assert each_alone(half, []) == ([], {})

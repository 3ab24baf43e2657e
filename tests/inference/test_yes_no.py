"""P(yes) against a softmax done by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kaggle_utils.chat.messages import as_conversation  # noqa: E402
from kaggle_utils.inference.yes_no import (  # noqa: E402
    NO_SPELLINGS,
    YES_SPELLINGS,
    next_token_logits,
    probability_of_yes,
    yes_no_token_ids,
)

QUESTIONS = [
    "Is it alive?",
    "Is it a place? " * 20,
    "x",
    'Does the keyword precede "cat"?',
    "no",
    "Is fire hot?",
    "ä" * 9,
]


def by_hand(generator, question):
    """One forward without padding, a full softmax in Python floats, sums over the first tokens of the spellings."""
    tokenizer = generator.tokenizer
    ids = generator.template.encode(as_conversation(question), tokenizer)
    with torch.inference_mode():
        logits = generator.model(torch.tensor([ids])).logits[0, -1].double().tolist()
    biggest = max(logits)
    mass = [math.exp(value - biggest) for value in logits]
    first = {text: tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in YES_SPELLINGS + NO_SPELLINGS}
    yes, no = {first[t] for t in YES_SPELLINGS}, {first[t] for t in NO_SPELLINGS}
    yes, no = yes - no, no - yes
    return sum(mass[i] for i in yes) / sum(mass[i] for i in yes | no)


def test_the_batched_value_is_the_softmax_done_by_hand(tiny_generator):
    found = tiny_generator.yes_no([as_conversation(q) for q in QUESTIONS])
    assert found == pytest.approx([by_hand(tiny_generator, q) for q in QUESTIONS], abs=1e-4)
    alone = [tiny_generator.yes_no([as_conversation(q)])[0] for q in QUESTIONS]
    assert found == pytest.approx(alone, abs=1e-4), "a row must not depend on its batch"
    assert len(set(found)) > 1


def test_the_probability_follows_the_logits(tiny_generator):
    """With the head's rows for yes raised the answer must become yes: a swap of the two would pass the range checks."""
    yes, no = yes_no_token_ids(tiny_generator.tokenizer)
    logits = torch.zeros(2, 512)
    logits[0, yes] += 5
    logits[1, no] += 5
    up, down = probability_of_yes(logits, yes, no)
    assert up > 0.98 and down < 0.02


def test_mass_is_summed_not_averaged():
    logits = torch.tensor([[0.0, 0.0, 0.0, math.log(2)]])
    assert probability_of_yes(logits, [0, 1], [2]) == pytest.approx([2 / 3])
    assert probability_of_yes(logits, [3], [0, 1]) == pytest.approx([0.5])


def test_large_logits_do_not_overflow_and_missing_numbers_are_an_error():
    assert probability_of_yes(torch.tensor([[1000.0, 990.0]]), [0], [1]) == pytest.approx([1 / (1 + math.exp(-10))])
    with pytest.raises(FloatingPointError, match="float32"):
        probability_of_yes(torch.tensor([[float("nan"), 0.0]]), [0], [1])


class FakeTokenizer:
    """First tokens by table."""

    def __init__(self, table):
        self.table = table

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [self.table[text], 99]}


def test_a_first_token_that_begins_both_answers_counts_for_neither():
    table = {"yes": 1, "Yes": 2, "YES": 3, " yes": 0, " Yes": 0, " YES": 0}
    table |= {"no": 4, "No": 5, "NO": 5, " no": 0, " No": 0, " NO": 0}
    assert yes_no_token_ids(FakeTokenizer(table)) == ([1, 2, 3], [4, 5])


def test_a_tokenizer_that_cannot_tell_them_apart_is_an_error():
    with pytest.raises(ValueError, match="every spelling of yes"):
        yes_no_token_ids(FakeTokenizer(dict.fromkeys(YES_SPELLINGS + NO_SPELLINGS, 0)))


def test_only_the_last_position_is_computed(tiny_generator, monkeypatch):
    """All positions of 8 prompts of 4,096 tokens over Gemma's 256,000 words would be 33 GB of logits."""
    shapes = []
    head = tiny_generator.model.lm_head
    hook = head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    next_token_logits(tiny_generator.model, [[1, 2, 3], [4]], pad_id=0)
    hook.remove()
    assert shapes == [(2, 1, 512)]


@pytest.mark.slow
def test_a_real_model_agrees_with_the_hand_computation(smollm2):
    from kaggle_utils.inference.generation import HFGenerator

    generator = HFGenerator.from_folder(smollm2, device_map="cpu", batch_size=2)
    questions = ["Is fire hot? Answer yes or no.", "Is ice hot? Answer yes or no, with one word."]
    found = generator.yes_no([as_conversation(q) for q in questions])
    assert found == pytest.approx([by_hand(generator, q) for q in questions], abs=1e-4)
    assert all(0 <= p <= 1 for p in found)

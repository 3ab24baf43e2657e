"""Few-shot prompts: nearest last, within the budget as the model counts it, never the task itself."""

from __future__ import annotations

import pytest

from kaggle_utils.chat.messages import assistant, system, user
from kaggle_utils.retrieval.example_text import ExampleText
from kaggle_utils.retrieval.fewshot import Example, fewshot_conversation, fewshot_conversations
from kaggle_utils.retrieval.retriever import Hit

EXAMPLES = [
    Example("What is a keyword?", "A thing, a place or a person.", example_id=0),
    Example("Is a fox quick?", "Yes, and brown.", example_id=1),
    Example("Do dogs jump?", "Lazy ones do not.", example_id=2),
    Example("How are you?", "Fine " * 200, example_id=3),
]
HITS = [Hit(1, 0.9), Hit(0, 0.8), Hit(2, 0.7)]


def characters(conversation) -> int:
    return sum(len(turn.content) for turn in conversation)


def test_the_nearest_example_is_last_and_a_system_turn_stays_first():
    made = fewshot_conversation([system("Be brief."), user("Is a wolf quick or slow?")], HITS, EXAMPLES,
                                budget_tokens=1000, count=characters)  # fmt: skip
    assert made.used == (2, 0, 1)
    assert made.conversation == (
        system("Be brief."),
        *(turn for i in (2, 0, 1) for turn in (user(EXAMPLES[i].question), assistant(EXAMPLES[i].answer))),
        user("Is a wolf quick or slow?"),
    )
    assert made.tokens == characters(made.conversation) and made.left_out == ()


@pytest.mark.parametrize("style", ["turns", "text"])
def test_the_budget_holds_with_the_models_own_tokenizer_and_template(tiny_llama, style):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    task, seen = "Does the lazy fox jump over a dog?", set()
    for budget in range(20, 500, 20):
        made = fewshot_conversation(task, HITS, EXAMPLES, budget_tokens=budget, tokenizer=tokenizer, style=style)
        turns = [{"role": turn.role, "content": turn.content} for turn in made.conversation]
        real = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True, return_dict=True)
        assert made.tokens == len(real["input_ids"])
        assert made.tokens <= budget or not made.used
        assert made.used == (2, 0, 1)[3 - len(made.used) :]  # the farthest goes first
        seen.add(len(made.used))
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "task",
    ["Is a fox quick?", " is a  FOX quick？", "Is a fox quick", [user("Is a fox quick?"), assistant("?"), user("B")]],
)
def test_the_task_itself_is_no_example(task):
    made = fewshot_conversation(task, HITS, EXAMPLES, budget_tokens=1000, count=characters)
    assert made.used == (2, 0)
    assert made.left_out == ((1, "the task itself"),)


def test_ids_exclude_too_and_strings_equal_numbers():
    made = fewshot_conversation("Quite another", HITS, EXAMPLES, budget_tokens=1000, count=characters, task_id="0")
    assert made.used == (2, 1)


def test_other_questions_stay_when_only_equal_ones_are_excluded():
    made = fewshot_conversation("Is a fox quick", HITS, EXAMPLES, budget_tokens=1000, count=characters, near_equal=1.0)
    assert made.used == (2, 0, 1)


def test_too_long_examples_make_room_and_reasons_are_given():
    examples = [*EXAMPLES, Example("do DOGS jump?", "Repeated.")]
    hits = [Hit(3, 1.0), Hit(2, 0.9), Hit(4, 0.9), Hit(1, 0.8), Hit(0, 0.7)]
    made = fewshot_conversation("A question", hits, examples, budget_tokens=120, count=characters, max_examples=2)
    assert made.used == (1, 2)
    assert made.left_out == ((3, "too long"), (4, "repeated"), (0, "no room"))


def test_a_task_over_the_budget_is_answered_without_examples(caplog):
    made = fewshot_conversation("x" * 50, HITS, EXAMPLES, budget_tokens=40, count=characters)
    assert made.used == () and made.tokens == 50 and made.conversation == (user("x" * 50),)
    assert "the task alone has 50 tokens" in caplog.text


def test_written_examples_keep_what_looks_like_a_placeholder():
    tricky = [Example("What is {answer}?", "{question}")]
    wording = ExampleText(intro="", example="Q: {question} A: {answer}\n", task="Q: {question} A:")
    made = fewshot_conversation("And {answer}?", [Hit(0, 1.0)], tricky, budget_tokens=1000, count=characters,
                                style="text", text=wording)  # fmt: skip
    assert made.conversation == (user("Q: What is {answer}? A: {question}\nQ: And {answer}? A:"),)


def test_many_tasks_keep_their_order_and_ids():
    made = fewshot_conversations(["First one", "Second one"], [HITS, HITS[:1]], EXAMPLES, task_ids=[1, 5],
                                 budget_tokens=1000, count=characters)  # fmt: skip
    assert [m.used for m in made] == [(2, 0), (1,)]
    with pytest.raises(ValueError, match="1 tasks, 2 lists of hits"):
        fewshot_conversations(["a"], [HITS, HITS], EXAMPLES, budget_tokens=10, count=characters)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)assistant.*\[7\].*neither.*budget_tokens is 0.*near_equal is 2"):
        fewshot_conversation([user("a"), assistant("b")], [Hit(7, 1.0)], EXAMPLES, budget_tokens=0, near_equal=2)
    with pytest.raises(ValueError, match=r"(?s)without \{answer\}.*without \{question\}"):
        ExampleText(example="{question}", task="?")

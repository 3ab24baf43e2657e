"""A prompt with retrieved examples in front of the task.

It promises that the nearest example stands last, that the prompt stays within the budget as the model's own tokenizer
and chat template count it, and that the task itself is never among its examples. It does not know how examples were
found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kaggle_utils.chat.messages import Conversation, Message, as_conversation, assistant, user
from kaggle_utils.chat.templates import template_for

from .example_text import ExampleText
from .near_equal import near_equality, plain_text
from .retriever import Hit

__all__ = ["Example", "FewShot", "fewshot_conversation", "fewshot_conversations"]

_log = logging.getLogger(__name__)

_Count = Callable[[Conversation], int]
_Reasons = dict[int, str]


@dataclass(frozen=True)
class Example:
    """A question with the answer that a model should imitate."""

    question: str
    """What retrieval searches."""
    answer: str
    """What is shown as the reply."""
    example_id: str | int | None = None
    """Never used for the task with the same id; None where the ids of tasks mean something else."""


@dataclass(frozen=True)
class FewShot:
    """A prompt, and where its examples come from."""

    conversation: tuple[Message, ...]
    """What the model is given."""
    used: tuple[int, ...]
    """Indices of the examples in the order of the prompt: the nearest last."""
    tokens: int
    """Length of the prompt; above the budget only where the task alone is."""
    left_out: tuple[tuple[int, str], ...] = ()
    """Indices of hits that were not used, nearest first, with the reason: "the task itself", "repeated" (an equal
    question is nearer), "too long" (does not fit even alone), "no room" (over ``max_examples`` or the budget)."""


def fewshot_conversation(
    task: str | Conversation,
    hits: Sequence[Hit],
    examples: Sequence[Example],
    *,
    budget_tokens: int,
    tokenizer: Any = None,
    template: str | None = None,
    count: Callable[[Conversation], int] | None = None,
    max_examples: int = 5,
    style: Literal["turns", "text"] = "turns",
    text: ExampleText | None = None,
    near_equal: float = 0.9,
    task_id: str | int | None = None,
) -> FewShot:
    """Return ``task`` with the nearest of ``examples`` in front of it.

    Args:
        task: one user turn as a str, or a conversation that ends with one; system turns stay in front.
        hits: what a retriever found for the task among the examples' questions, nearest first.
        examples: what was indexed, in that order.
        budget_tokens: most tokens of the whole prompt, with chat template, task and the opening of the reply.
        tokenizer: the model's own; with ``template`` (a name, or None for the tokenizer's own) it counts tokens.
        count: instead of a tokenizer, what counts the tokens of a conversation, generation prompt included.
        max_examples: most examples, however much room there is.
        style: examples as earlier turns of user and assistant, or as one text in the user's turn, worded by ``text``.
        near_equal: questions that share this part of their character bigrams with a user turn of the task count as the
            task itself; 1 means equal texts only (after NFKC, case folding and without white space).
        task_id: an example with this id is the task itself.

    Where not all examples fit, the farthest goes first; one that does not fit even alone makes room for farther ones.
    A task that is over the budget alone gets no examples, and a warning is logged. Counting costs at most
    ``2 x max_examples + 1`` prompts, and one more for each example that is too long.

    Raises:
        ValueError: neither or both of ``tokenizer`` and ``count``, a task that does not end with a user turn, hits that
            point outside ``examples``, or options out of range; all are named.
    """
    turns = as_conversation(task)
    _check(turns, hits, examples, tokenizer, count, budget_tokens, max_examples, style, near_equal)
    counted, wording = count or _counter(tokenizer, template), (text or ExampleText()) if style == "text" else None

    def prompt(chosen: Sequence[int]) -> tuple[Message, ...]:
        return _written(turns, [examples[index] for index in reversed(chosen)], wording)

    def fits(chosen: Sequence[int]) -> bool:
        return counted(prompt(chosen)) <= budget_tokens

    if not fits([]):
        tokens = counted(prompt([]))
        _log.warning("the task alone has %d tokens, the budget is %d: it gets no examples", tokens, budget_tokens)
        return FewShot(prompt([]), (), tokens, tuple((hit.index, "no room") for hit in hits))
    reasons = _refused(turns, hits, examples, near_equal, task_id)
    chosen: list[int] = []
    for index in dict.fromkeys(hit.index for hit in hits):
        if index in reasons:
            continue
        if len(chosen) == max_examples:
            reasons[index] = "no room"
        elif fits([index]):
            chosen.append(index)
        else:
            reasons[index] = "too long"
    while chosen and not fits(chosen):
        reasons[chosen.pop()] = "no room"
    order = list(dict.fromkeys(hit.index for hit in hits))
    left_out = tuple((index, reasons[index]) for index in order if index in reasons)
    return FewShot(prompt(chosen), tuple(reversed(chosen)), counted(prompt(chosen)), left_out)


def fewshot_conversations(
    tasks: Sequence[str | Conversation],
    hits: Sequence[Sequence[Hit]],
    examples: Sequence[Example],
    *,
    task_ids: Sequence[str | int] | None = None,
    **options: Any,
) -> list[FewShot]:
    """Return :func:`fewshot_conversation` of each task, in order; ``hits`` is what ``Retriever.search`` gave for them.

    Raises:
        ValueError: tasks, hits and ids are not equally many, or what :func:`fewshot_conversation` raises.
    """
    ids = [None] * len(tasks) if task_ids is None else list(task_ids)
    if not len(tasks) == len(hits) == len(ids):
        raise ValueError(f"there are {len(tasks)} tasks, {len(hits)} lists of hits and {len(ids)} ids; give one each")
    return [
        fewshot_conversation(task, found, examples, task_id=number, **options)
        for task, found, number in zip(tasks, hits, ids, strict=True)
    ]


def _check(turns, hits, examples, tokenizer, count, budget_tokens, max_examples, style, near_equal) -> None:
    outside = sorted({hit.index for hit in hits if not 0 <= hit.index < len(examples)})
    given = "neither" if tokenizer is None else "both"
    checks = [
        (turns[-1].role == "user", f"the task ends with a turn of {turns[-1].role}, expected user: what is asked"),
        (not outside, f"hits point at {outside[:5]}, but there are {len(examples)} examples; give the list indexed"),
        ((tokenizer is None) != (count is None), f"{given} of tokenizer and count is given, expected one of them"),
        (budget_tokens >= 1, f"budget_tokens is {budget_tokens!r}, expected 1 or more"),
        (max_examples >= 0, f"max_examples is {max_examples!r}, expected 0 or more"),
        (style in ("turns", "text"), f"style is {style!r}, expected 'turns' or 'text'"),
        (0 < near_equal <= 1, f"near_equal is {near_equal!r}, expected above 0 and at most 1"),
    ]
    problems = [problem for good, problem in checks if not good]
    if problems:
        raise ValueError("no few-shot prompt can be made:\n" + "\n".join(f"  - {p}" for p in problems))


def _counter(tokenizer: Any, template: str | None) -> _Count:
    chat = template_for(tokenizer, template)
    return lambda conversation: len(chat.encode(conversation, tokenizer))


def _refused(
    turns: Sequence[Message],
    hits: Sequence[Hit],
    examples: Sequence[Example],
    near_equal: float,
    task_id: str | int | None,
) -> _Reasons:
    """Examples that must not be used, whatever room there is, with the reason."""
    asked = [turn.content for turn in turns if turn.role == "user"]
    seen: set[str] = set()
    reasons: _Reasons = {}
    for index in dict.fromkeys(hit.index for hit in hits):
        example = examples[index]
        same_id = None not in (task_id, example.example_id) and str(task_id) == str(example.example_id)
        if same_id or any(near_equality(example.question, question) >= near_equal for question in asked):
            reasons[index] = "the task itself"
        elif (plain := plain_text(example.question)) in seen:
            reasons[index] = "repeated"
        else:
            seen.add(plain)
    return reasons


def _written(turns: tuple[Message, ...], shown: Sequence[Example], wording: ExampleText | None) -> tuple[Message, ...]:
    if wording is not None:
        pairs = [(example.question, example.answer) for example in shown]
        return (*turns[:-1], user(wording.write(pairs, turns[-1].content)))
    first = next(i for i, turn in enumerate(turns) if turn.role != "system")
    earlier = [turn for example in shown for turn in (user(example.question), assistant(example.answer))]
    return (*turns[:first], *earlier, *turns[first:])

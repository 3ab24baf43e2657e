"""The source notebook's robot: a language model that asks, answers and guesses by its own lights. A baseline.

It plays as that notebook did, weaknesses included: the instruction with one worked example, the whole transcript as
chat turns, fifteen new tokens; the model's text goes out as a question or a guess without cleaning, an answer is "yes"
unless it says "no"; and its answerer sees the history shifted by one and with the roles swapped. ``repaired`` leaves
out that last defect. Only what would end the game at once is kept from it: an empty text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import Message, assistant, system, user
from kaggle_utils.q20.protocol import Observation, TurnType

__all__ = ["NotebookRobot"]

_KINDS = "The keyword is a place or a thing."
_EXAMPLE = (
    ("Is it a place?", "yes"), ("Is it in Europe?", "no"), ("Is it in Africa?", "yes"),
    ("Is it a country?", "yes"), ("Does its name start with the letter M?", "yes"),
)  # fmt: skip
_SHOWN = "\n".join(f"Questioner: {question}\nAnswerer: {answer}" for question, answer in _EXAMPLE)
_ASKER = (
    "You are a helpful assistant and very smart at the game of 20 questions. The user thinks of a keyword, and you "
    f"find it out by asking. {_KINDS}\n"
)
_ASK = (
    "Ask questions that can only be answered with yes or no, each narrowing down what the keyword can be. Here is how "
    f"it goes when the keyword is Morocco:\n{_SHOWN}\nQuestioner: Is it Morocco?\nAnswerer: yes\n"
    "The user has chosen the keyword. Be short: one question, nothing else."
)
_GUESS = "Here is the game so far:\n{turns}\nGuess the keyword from it. Write only the keyword, nothing else."
_ANSWERER = (
    "You are a helpful assistant and very smart at the game of 20 questions. The user tries to find out a keyword by "
    'asking you; answer each question with "yes" or "no", anything else loses the game. {kinds} The keyword is '
    '"{keyword}" in the category "{category}". Here is how it goes when the keyword is Morocco:\n{shown}'
)


class NotebookRobot:
    """A player of the round robin; all its seats share one call of the model."""

    def __init__(
        self, generator: TextGenerator, *, name: str = "notebook", repaired: bool = False, max_new_tokens: int = 15
    ) -> None:
        """Take the model; ``repaired`` gives its answerer the history as it was."""
        self.name, self.generator, self.repaired = name, generator, repaired
        self.settings = GenerationSettings(max_new_tokens=max_new_tokens)

    def reply(self, turn: TurnType, seats: Sequence[int], observations: Sequence[Observation]) -> list[str]:
        """Let the model write for every seat, once for those that are told the same."""
        write = {"ask": _asking, "guess": _guessing, "answer": self._answering}[turn]
        conversations = [write(obs) for obs in observations]
        different = list(dict.fromkeys(conversations))  # it writes greedily, so games that are alike so far stay alike
        written = dict(zip(different, self.generator.generate(different, self.settings), strict=True))
        texts = [written[conversation] for conversation in conversations]
        if turn == "answer":
            return ["no" if "no" in text.lower() and "yes" not in text.lower() else "yes" for text in texts]
        return [text.strip() or ("Is it a place?" if turn == "ask" else "Morocco") for text in texts]

    def _answering(self, obs: Observation) -> tuple[Message, ...]:
        told = system(_ANSWERER.format(kinds=_KINDS, keyword=obs.keyword, category=obs.category, shown=_SHOWN))
        if self.repaired:
            pairs = zip(obs.questions[:-1], obs.answers, strict=False)
            return told, *_turns(pairs), user(obs.questions[-1])
        shifted = zip(obs.answers, obs.questions[1:], strict=False)
        return told, user(obs.questions[0]), *_turns(shifted)


def _asking(obs: Observation) -> tuple[Message, ...]:
    turns = [message for question, answer in zip(obs.questions, obs.answers, strict=False)
             for message in (assistant(question), user(answer))]  # fmt: skip
    return system(_ASKER + _ASK), user("Ask your first question." if not turns else "Let us play."), *turns


def _guessing(obs: Observation) -> tuple[Message, ...]:
    turns = "\n".join(f"Question: {q}\nAnswer: {a}" for q, a in zip(obs.questions, obs.answers, strict=False))
    return system(_ASKER), user(_GUESS.format(turns=turns))


def _turns(pairs: Iterable[tuple[str, str]]) -> list[Message]:
    return [message for first, second in pairs for message in (user(first), assistant(second))]

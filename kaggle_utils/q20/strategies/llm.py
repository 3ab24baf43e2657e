"""Strategies that ask a language model through ``chat.generator.TextGenerator``.

They never pass on what the model wrote unchecked: a question becomes a clean new question, a guess a bare word not
guessed before, and an answer comes from the probability of "yes", so that no text of an opponent can make it anything
but yes or no. They do not know how long the model may take: ``guard`` cuts them off, and tells them how long they have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import Message
from kaggle_utils.q20.guard import time_left
from kaggle_utils.q20.protocol import Observation, clean_guess
from kaggle_utils.q20.strategies.prompts import answer_prompt, guess_prompt, question_prompt
from kaggle_utils.q20.strategies.question_cleaning import clean_question, is_repeat
from kaggle_utils.q20.transcript import already_guessed, wrong_answers

__all__ = ["AnswerLLM", "AskLLM", "GuessLLM", "proposed_words"]

_LABEL = re.compile(
    r"\W*(?:(?:the|my|five|top|best|final)\s+)*(?:keywords?|guess(?:es)?|answers?)\s*:\s*", re.IGNORECASE
)
_LIST_ITEM = re.compile(r"\s*(?:\d{1,2}[.)]\s*)?[\w' -]{1,40}[.!]?\s*")
_WORDS_IN_KEYWORD = 4
_NOT_A_KEYWORD = frozenset({"", "yes", "no", "none", "unknown", "keyword", "keywords", "answer", "guess", "sure", "oh"})
_NOT_A_BEGINNING = frozenset([
    "i", "i'm", "i'd", "i'll", "it", "it's", "its", "is", "this", "that", "these", "those", "my", "your", "we",
    "they", "he", "she", "you", "if", "so", "but", "because", "since", "after", "and", "or", "not", "based",
    "given", "here", "what", "which", "who", "how", "maybe", "perhaps", "well", "oh", "sure", "there", "can",
    "could", "would", "does", "do",
])  # fmt: skip


class _Writer:
    """Generates once greedily, then once with some temperature where the first text was of no use."""

    def __init__(
        self, generator: TextGenerator, *, max_new_tokens: int = 48, time_limit: float = 25.0, seed: int = 0
    ) -> None:
        """Take the model; ``time_limit`` is in seconds per text, shortened where the turn has less left."""
        self.generator = generator
        self.max_new_tokens, self.time_limit, self.seed = max_new_tokens, time_limit, seed

    def texts(self, conversation: tuple[Message, ...], *, variant: int) -> Iterator[str]:
        """Yield what the model writes, while there is time."""
        for temperature in (0.0, 0.8):
            seconds = min(self.time_limit, 0.8 * time_left())
            if seconds <= 0:
                return
            settings = GenerationSettings(
                max_new_tokens=self.max_new_tokens,
                temperature=temperature,
                top_p=0.95 if temperature else 1.0,
                time_limit=seconds,
                seed=self.seed + variant,
            )
            text = self.generator.generate([conversation], settings)[0]
            if not text.strip():  # nothing came within the time: a second try would take as long again
                return
            yield text


class AskLLM(_Writer):
    """Let the model write the next question."""

    def reply(self, obs: Observation) -> str | None:
        """Return a clean question that was not asked before; None if the model writes none."""
        for text in self.texts(question_prompt(obs), variant=obs.step):
            question = clean_question(text)
            if question and not is_repeat(question, obs.questions):
                return question
        return None


class GuessLLM(_Writer):
    """Let the model propose keywords and take the first that fits best what was answered about spelling."""

    def reply(self, obs: Observation) -> str | None:
        """Return a bare word not guessed before; None if the model writes none."""
        for text in self.texts(guess_prompt(obs), variant=obs.step):
            words = [word for word in proposed_words(text) if not already_guessed(word, obs)]
            if words:
                return min(words, key=lambda word: wrong_answers(word, obs))
        return None


class AnswerLLM:
    """Answer yes where the model gives "yes" at least the probability ``threshold``."""

    def __init__(self, generator: TextGenerator, *, threshold: float = 0.5) -> None:
        """Take the model; ValueError for a threshold that is no probability."""
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold {threshold} must lie between 0 and 1, for example 0.5")
        self.generator, self.threshold = generator, threshold

    def reply(self, obs: Observation) -> str | None:
        """Return "yes" or "no"; None without a question or a keyword, or if the model gives no probability."""
        if not obs.questions or not obs.questions[-1].strip() or not obs.keyword:
            return None
        probability = float(self.generator.yes_no([answer_prompt(obs)])[0])
        if not math.isfinite(probability):
            return None
        return "yes" if probability >= self.threshold else "no"


def proposed_words(text: str) -> list[str]:
    """Return the bare keywords out of a list that a model wrote, best first."""
    lines = [line for line in text[:2000].splitlines()[:20] if not line.rstrip(" *_").endswith(":")]
    words = [clean_guess(piece) for line in lines for piece in _items(_LABEL.sub("", line, count=1))]
    return [word for word in words if _may_be_keyword(word)]


def _items(line: str) -> list[str]:
    """The items of a line that is a plain list, else the line: the commas of a sentence separate nothing."""
    pieces = re.split("[,;]", line)
    plain = all(_LIST_ITEM.fullmatch(piece) and _may_be_keyword(clean_guess(piece)) for piece in pieces)
    return pieces if plain else [line]


def _may_be_keyword(word: str) -> bool:
    words = word.split()
    return word not in _NOT_A_KEYWORD and 0 < len(words) <= _WORDS_IN_KEYWORD and (words[0] not in _NOT_A_BEGINNING)

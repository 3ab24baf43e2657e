"""What the ``llm_20_questions`` environment says to an agent, what it accepts back, and how it compares words.

Everything here mirrors kaggle-environments 1.18.0 (``llm_20_questions.py``), so that the rest of the package never
re-implements a rule. The module knows no strategy and no model. Text in an observation comes from strangers: it is
read into plain, bounded strings and never makes this module raise.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kaggle_utils.q20.phrases import bare_phrase

__all__ = [
    "GUESS_LIMIT",
    "OVERAGE_SECONDS",
    "QUESTION_LIMIT",
    "ROUNDS",
    "TEXT_LIMIT",
    "TURNS",
    "Observation",
    "TurnType",
    "clean_guess",
    "clip_guess",
    "clip_question",
    "is_valid_reply",
    "keywords_match",
    "normalize",
    "read_answer",
]

TurnType = Literal["ask", "answer", "guess"]

TURNS: tuple[TurnType, ...] = ("ask", "answer", "guess")
"""The turns of one round, in order: step ``3 * round + index``."""

QUESTION_LIMIT = 750
"""Characters of a question that the environment keeps (2,000 before version 1.14.17)."""

GUESS_LIMIT = 100
"""Characters of a guess that the environment records; it compares the uncut text."""

ROUNDS = 20
"""Rounds in a game."""

OVERAGE_SECONDS = 300.0
"""Time bank of one seat for the whole game, beyond 60 s a turn."""

TEXT_LIMIT = 2000
"""Longest text that an observation keeps: no version of the environment ever recorded more."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LAST_STEP = 3 * ROUNDS
_LONGEST = 1e9  # seconds; more is not a time bank


@dataclass(frozen=True)
class Observation:
    """What the environment tells one agent before it acts."""

    turn_type: str
    """"ask", "answer" or "guess"; anything else was not sent by the environment."""
    role: str = ""
    """"guesser" or "answerer"."""
    step: int = 0
    """0 to 60: three steps a round (ask, answer, guess)."""
    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    """"yes" or "no" each, as recorded by the environment."""
    guesses: tuple[str, ...] = ()
    keyword: str = ""
    """Empty for a guesser until the game is over."""
    category: str = ""
    remaining_overage_time: float = OVERAGE_SECONDS
    """Seconds left in the time bank; 0.0 when what was sent is not a time."""

    @classmethod
    def from_kaggle(cls, obs: Any) -> Observation:
        """Read what ``kaggle_environments`` passes in: a Struct, a dict or any object with those attributes.

        Missing or odd fields become defaults, odd list entries become ``""`` (so that positions stay), texts are cut
        at ``TEXT_LIMIT`` characters, and a step out of range is worked out again from the transcript. Never raises.

        >>> Observation.from_kaggle({"turnType": "ask", "questions": ["Is it alive?"], "answers": [None]})
        Observation(turn_type='ask', role='', step=0, questions=('Is it alive?',), answers=('',), guesses=(), ...)
        """
        turn_type, guesses = _text(_field(obs, "turnType")), _texts(_field(obs, "guesses"))
        return cls(
            turn_type=turn_type,
            role=_text(_field(obs, "role")),
            step=_step(_field(obs, "step"), turn_type, len(guesses)),
            questions=_texts(_field(obs, "questions")),
            answers=_texts(_field(obs, "answers")),
            guesses=guesses,
            keyword=_text(_field(obs, "keyword")),
            category=_text(_field(obs, "category")),
            remaining_overage_time=_seconds(_field(obs, "remainingOverageTime", OVERAGE_SECONDS)),
        )

    def to_kaggle(self) -> dict[str, Any]:
        """Return the environment's own shape: camelCase names and lists.

        >>> Observation("guess", step=2, questions=("Is it red?",), answers=("no",)).to_kaggle()["turnType"]
        'guess'
        """
        return {
            "remainingOverageTime": self.remaining_overage_time,
            "step": self.step,
            "questions": list(self.questions),
            "guesses": list(self.guesses),
            "answers": list(self.answers),
            "role": self.role,
            "turnType": self.turn_type,
            "keyword": self.keyword,
            "category": self.category,
        }

    @property
    def round(self) -> int:
        """Round of this turn, 0 to 19."""
        return min(self.step // 3, ROUNDS - 1)


def normalize(text: str) -> str:
    """Return ``text`` as the environment compares it.

    Lower case, every "the" deleted (also inside words), then spaces and ASCII punctuation. Accents and tabs stay.

    >>> normalize("The Theater"), normalize("Air-Conditioner")
    ('ater', 'airconditioner')
    """
    return text.lower().replace("the", "").replace(" ", "").translate(_PUNCTUATION)


def keywords_match(guess: str, keyword: str, alts: Sequence[str] = ()) -> bool:
    """Say whether the environment takes ``guess`` for ``keyword`` or one of its other names.

    Equal after ``normalize``, or apart by one final "s" or "es" when both have at least three characters. The whole
    guess is compared, not only the 100 characters that are recorded. The environment applies this to questions too.

    >>> keywords_match("boxes", "The Box"), keywords_match("I think it is a box", "box"), keywords_match("WC", "w.c.")
    (True, False, True)
    """
    return any(_same_word(normalize(guess), normalize(name)) for name in (keyword, *alts))


def _same_word(a: str, b: str) -> bool:
    if a == b:
        return True
    if len(a) < 3 or len(b) < 3:
        return False
    return b in (a + "s", a + "es") or a in (b + "s", b + "es")


def read_answer(text: object) -> Literal["yes", "no"] | None:
    """Read an answer as the environment does: contains "yes", else contains "no"; None ends the game in an error.

    >>> [read_answer(text) for text in ("Yes!", "yes and no", "I know nothing", "maybe", None)]
    ['yes', 'yes', 'no', None, None]
    """
    if not isinstance(text, str):
        return None
    lowered = text.lower()
    if "yes" in lowered:
        return "yes"
    return "no" if "no" in lowered else None


def clip_question(text: str) -> str:
    """Return the part of a question that the environment keeps."""
    return text[:QUESTION_LIMIT]


def clip_guess(text: str) -> str:
    """Return the part of a guess that the environment records."""
    return text[:GUESS_LIMIT]


def clean_guess(text: str) -> str:
    """Return the bare word or phrase that a sentence guesses, in lower case; "" if nothing is left.

    Only a bare word can win: the environment never finds a keyword inside a sentence. Takes linear time and any text.

    >>> clean_guess("I think it is a **Cat**."), clean_guess('My guess is: "Coffee beans"'), clean_guess("?!")
    ('cat', 'coffee beans', '')
    """
    return clip_guess(bare_phrase(text).lower()).strip()


def is_valid_reply(turn_type: str, reply: object) -> bool:
    """Say whether the environment takes ``reply`` whole and without penalty.

    Stricter than the environment in three points that only ever help: an answer is exactly "yes" or "no", nothing is
    so long that it would be cut, and the text can be written as UTF-8 (a lone surrogate cannot). Whether a question
    gives the keyword away, and so ends the episode, is not known here: see ``checks``.

    >>> is_valid_reply("answer", "yes"), is_valid_reply("answer", "Yes."), is_valid_reply("guess", "x" * 101)
    (True, False, False)
    """
    if not isinstance(reply, str) or not reply.strip():
        return False
    if turn_type == "answer":
        return reply in ("yes", "no")
    if len(reply) > (GUESS_LIMIT if turn_type == "guess" else QUESTION_LIMIT):
        return False
    return not any("\ud800" <= character <= "\udfff" for character in reply)


def _field(obs: Any, name: str, default: Any = None) -> Any:
    try:
        return obs[name] if isinstance(obs, Mapping) else getattr(obs, name, default)
    except Exception:  # a property or a lazy mapping may raise anything; an unreadable field is a missing one
        return default


def _text(value: Any) -> str:
    return value[:TEXT_LIMIT] if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _step(value: Any, turn_type: str, guesses: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_STEP:
        return value
    index = TURNS.index(turn_type) if turn_type in TURNS else 0  # type: ignore[arg-type]
    return min(3 * guesses + index, _LAST_STEP)


def _seconds(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= _LONGEST else 0.0  # NaN fails the comparison too

"""The agent that the environment calls: always a valid reply, always in time.

``make_agent`` is the one place that catches. Whatever a strategy does (raise, run out of memory, hang, reply with
nonsense), it is reported, and the next strategy of the chain is asked; after the last one comes a reply that cannot
fail. SystemExit and KeyboardInterrupt raised inside a strategy count as failures like any other, since they would lose
the game; a real Ctrl-C reaches the caller's own thread and passes, so that a notebook can be stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kaggle_utils.chat.generator import TextGenerator
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.robot import Robot, Strategy
from kaggle_utils.q20.seat import Seat
from kaggle_utils.q20.strategies.answering import answering_strategies
from kaggle_utils.q20.strategies.bayes import AskBayes, GuessBayes, GuessProposed, Minds
from kaggle_utils.q20.strategies.bisection import AskBisection, GuessBisection
from kaggle_utils.q20.strategies.fallback import AnswerNo
from kaggle_utils.q20.strategies.handshake import AskHandshake, ConfirmHandshake
from kaggle_utils.q20.strategies.lexical import AnswerLexical
from kaggle_utils.q20.strategies.llm import AnswerLLM, AskLLM, GuessLLM
from kaggle_utils.q20.strategies.scripted import AskScripted, GuessScripted
from kaggle_utils.q20.transcript import Beliefs
from kaggle_utils.q20.vocabulary import Vocabulary

__all__ = ["default_robot", "make_agent"]

_SURE = 0.97  # the table is right in 80 to 86 of 100 answers of which it claims 90: a model always has a say in those


def default_robot(
    generator: TextGenerator | None = None,
    *,
    table: KnowledgeTable | None = None,
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
    max_new_tokens: int = 48,
    threshold: float = 0.5,
) -> Robot:
    """Return the player of this package, with or without a language model.

    Rules answer what the spelling decides; the table, and the model together with it, answer what is meant.
    The Bayesian questioner asks and guesses: by meaning, by spelling, or first whether the partner spells at all.
    Behind it stands alphabetical bisection, which needs no table; without a model it asks so even where the handshake
    was not confirmed, since answers of another kind would be of no use to it.

    Args:
        generator: the language model; it answers, and proposes words that the table does not hold.
        table: what is known of objects and questions, by default the shipped table.
        vocabulary: words that can be found by their spelling, by default the shipped list.
        seed: for the texts that the model samples.
        max_new_tokens: of a question or a list of guesses.
        threshold: the model's probability of "yes" from which on its answer is yes, between 0 and 1.
    """
    beliefs, minds = Beliefs(vocabulary), Minds(table, vocabulary=vocabulary, seed=seed)
    asking: list[Strategy] = [AskBayes(minds), AskHandshake(), AskBisection(beliefs, insist=generator is None)]
    knowing = answering_strategies(
        load_table if table is None else table, generator, calibrate=_from_threshold(threshold), sure=_SURE
    )
    answering: list[Strategy] = [ConfirmHandshake(), AnswerLexical(), *knowing]
    guessing: list[Strategy] = [GuessBayes(minds), GuessBisection(beliefs)]
    if generator is not None:
        asking.append(AskLLM(generator, max_new_tokens=max_new_tokens, seed=seed))
        answering.append(AnswerLLM(generator, threshold=threshold))
        guessing.insert(0, GuessProposed(generator, minds, max_new_tokens=max_new_tokens, seed=seed))
        guessing.append(GuessLLM(generator, max_new_tokens=max_new_tokens, seed=seed))
    return Robot(
        asking=[*asking, AskScripted()],
        answering=[*answering, AnswerNo()],
        guessing=[*guessing, GuessScripted(beliefs)],
        beliefs=minds,
    )


def make_agent(
    robot_or_generator: Robot | TextGenerator | None = None,
    *,
    act_timeout: float = 60.0,
    margin: float | None = None,
    log: bool = True,
) -> Callable[[Any, Any], str]:
    """Return ``agent(obs, cfg)`` for ``kaggle_environments``.

    Args:
        robot_or_generator: a Robot, a language model for the default robot, or None for the default robot without one.
        act_timeout: seconds for a turn; a shorter ``actTimeout`` in the configuration counts instead.
        margin: seconds of a turn that are never used; by default a tenth.
        log: print one line of JSON per turn on stdout.

    Raises:
        TypeError, ValueError: for arguments of another kind. The agent itself never raises.

    >>> agent = make_agent(log=False)
    >>> agent({"turnType": "answer", "keyword": "cat", "questions": ["Is it Agent Alpha?"]}, None)
    'yes'
    >>> agent(None, None)
    'no'
    """
    seat = Seat(_as_robot(robot_or_generator), act_timeout=act_timeout, margin=margin, log=log)

    def agent(obs: Any, cfg: Any = None) -> str:
        """Reply to one turn."""
        return seat.reply(obs, cfg)

    return agent


def _from_threshold(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    """What moves ``threshold`` to a half, so that the table's P(yes) can be set against it."""
    return lambda p: p * (1 - threshold) / (p * (1 - threshold) + (1 - p) * threshold)


def _as_robot(value: Robot | TextGenerator | None) -> Robot:
    if isinstance(value, Robot):
        return value
    if value is None or (callable(getattr(value, "generate", None)) and callable(getattr(value, "yes_no", None))):
        return default_robot(value)
    raise TypeError(
        f"make_agent got {type(value).__name__}; expected a Robot, a TextGenerator (generate and yes_no) or None"
    )

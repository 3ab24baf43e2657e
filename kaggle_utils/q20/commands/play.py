"""``play``: a person against the computer in the terminal, as guesser or as answerer."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kaggle_utils.q20.answerer.answerer import Answerer
from kaggle_utils.q20.keywords import Keyword, load_keywords
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.protocol import ROUNDS, keywords_match
from kaggle_utils.q20.questioner.single import Questioner

__all__ = ["main", "person_answers", "person_guesses"]

_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "?": None, "": None, "unsure": None}


def person_guesses(
    keyword: Keyword, answerer: Answerer, *, ask: Callable[[str], str] = input, tell: Callable[[str], object] = print
) -> int | None:
    """The computer knows the keyword and answers; return the round in which it was found, None if it was not.

    Args:
        keyword: what to find.
        answerer: who answers.
        ask: shows a prompt and returns a line.
        tell: shows a line.
    """
    tell(f"I have a keyword of the category {keyword.category!r}. {ROUNDS} questions, a guess after each.")
    for number in range(1, ROUNDS + 1):
        question = ask(f"{number:2}. your question: ").strip()
        said = answerer.judge(keyword.word, keyword.category, question)
        tell(f"    {'yes' if said.yes else 'no'} ({said.source})")
        guess = ask("    your guess: ").strip()
        if guess and keywords_match(guess, keyword.word, keyword.alts):
            tell(f"Yes, {keyword.word}! Found in round {number}.")
            return number
    tell(f"It was {keyword.word}.")
    return None


def person_answers(
    questioner: Questioner,
    words: Sequence[str],
    *,
    ask: Callable[[str], str] = input,
    tell: Callable[[str], object] = print,
) -> str | None:
    """The person thinks of something and answers; return the word that was found, None if it was not.

    Args:
        questioner: who asks.
        words: of its objects.
        ask: shows a prompt and returns a line.
        tell: shows a line.
    """
    tell("Think of something. Answer y, n, or ? where you are not sure.")
    for number in range(1, ROUNDS + 1):
        text = questioner.question_text(questioner.ask())
        answer = ask(f"{number:2}. {text} ").strip().casefold()
        while answer not in _ANSWERS:
            answer = ask("    y, n or ?: ").strip().casefold()
        questioner.hear(_ANSWERS[answer])
        guess = words[questioner.guess()]
        if ask(f"    Is it {guess!r}? ({questioner.entropy_bits:.1f} bits left) ").strip().casefold() in ("y", "yes"):
            tell(f"Found in round {number}.")
            return guess
    tell("I give up.")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Play one game; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kaggle_utils.q20 play", description=__doc__)
    parser.add_argument("role", choices=("guesser", "answerer"), help="what you are")
    parser.add_argument("--keyword", help="what is to be found, where you are the guesser (default: a random one)")
    parser.add_argument("--table", type=Path, help="a table file (default: the shipped one)")
    parser.add_argument("--seed", type=int, help="choose the same keyword and questions again")
    options = parser.parse_args(argv)
    try:
        table = load_table(options.table)
        if options.role == "guesser":
            person_guesses(_keyword(options.keyword, options.seed), Answerer(table))
        else:
            person_answers(_questioner(table, options.seed), table.objects.words)
    except EOFError:  # the input has ended
        print()
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _keyword(word: str | None, seed: int | None) -> Keyword:
    known = load_keywords()
    if word is None:
        return random.Random(seed).choice(known)
    return next((k for k in known if keywords_match(word, k.word, k.alts)), Keyword(word, "things", (), ()))


def _questioner(table: KnowledgeTable, seed: int | None) -> Questioner:
    return Questioner(table, seed=random.SystemRandom().randrange(2**31) if seed is None else seed)

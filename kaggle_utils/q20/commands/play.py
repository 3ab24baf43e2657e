"""Play against the computer in the terminal: a guesser finds its keyword, an answerer lets it find his."""

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
from kaggle_utils.q20.protocol import ROUNDS, keywords_match, normalize
from kaggle_utils.q20.questioner.profiles import AnswererProfile
from kaggle_utils.q20.questioner.single import Questioner

__all__ = ["PEOPLE", "main", "person_answers", "person_guesses"]

PEOPLE = (
    AnswererProfile(0.02, lexical=0.05, weight=0.3),
    AnswererProfile(0.08, lexical=0.05, weight=0.5),
    AnswererProfile(0.20, lexical=0.05, weight=0.2),
)
"""People as answerers: they know what a thing is, and would rather not count its letters."""

_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "?": None, "unsure": None}
_SOURCES = {"default": "not known: a guess", "named": "that is its name"}
_EXAMPLES = """examples:
  python -m kaggle_utils.q20 play guesser                 # it has a keyword, you ask
  python -m kaggle_utils.q20 play guesser --keyword cow   # set one for somebody else
  python -m kaggle_utils.q20 play answerer                # you think of something, it asks
"""


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
        question = ""
        while not question:
            question = ask(f"{number:2}. your question: ").strip()
        said = answerer.judge(keyword.word, keyword.category, question)
        tell(f"    {'yes' if said.yes else 'no'} ({_SOURCES.get(said.source, said.source)})")
        guess = ask("    your guess (or Enter for none): ").strip()
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
    tell("Think of a thing or a place. Answer y, n, or ? where you are not sure.")
    for number in range(1, ROUNDS + 1):
        text = questioner.question_text(questioner.ask())
        questioner.hear(_answer(f"{number:2}. {text} ", ask, unsure=True))
        guess = words[questioner.guess()]
        if _answer(f"    Is it {guess!r}? ({questioner.entropy_bits:.1f} bits left) ", ask, unsure=False):
            tell(f"Found in round {number}.")
            return guess
    tell("I give up.")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Play one game; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20 play",
        description="A person against the computer in the terminal, as guesser or as answerer.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", choices=("guesser", "answerer"), help="what you are")
    parser.add_argument("--keyword", help="what is to be found, where you are the guesser (default: a random one)")
    parser.add_argument("--table", type=Path, help="a table file (default: the shipped one)")
    parser.add_argument("--seed", type=int, help="choose the same keyword and questions again")
    options = parser.parse_args(argv)
    try:
        _check(options)
        table = load_table(options.table)
        if options.role == "guesser":
            person_guesses(_keyword(options.keyword, options.seed, table), Answerer(table))
        else:
            person_answers(_questioner(table, options.seed), table.objects.words)
    except EOFError:  # the input has ended
        print()
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = []
    if options.keyword is not None and options.role == "answerer":
        problems.append("--keyword is for a guesser; as the answerer you think of one yourself")
    elif options.keyword is not None and not normalize(options.keyword):
        problems.append(f"--keyword {options.keyword!r}: expected a word; leave it out for a random one")
    if options.seed is not None and options.seed < 0:
        problems.append(f"--seed {options.seed}: expected 0 or more")
    if problems:
        raise ValueError("\n".join(problems))


def _answer(prompt: str, ask: Callable[[str], str], *, unsure: bool) -> bool | None:
    """Ask until the answer is one; a slip of the finger is no answer."""
    said = ask(prompt).strip().casefold()
    while said not in _ANSWERS or (_ANSWERS[said] is None and not unsure):
        said = ask("    y, n or ?: " if unsure else "    y or n: ").strip().casefold()
    return _ANSWERS[said]


def _keyword(word: str | None, seed: int | None, table: KnowledgeTable) -> Keyword:
    known = load_keywords()
    if word is None:
        return random.Random(seed).choice(known)
    index = table.objects.index_of(word)
    kind = "things" if index is None else table.objects.categories[index]
    return next((k for k in known if keywords_match(word, k.word, k.alts)), Keyword(word.strip(), kind, (), ()))


def _questioner(table: KnowledgeTable, seed: int | None) -> Questioner:
    """No handshake: a person at the terminal is no agent of any kind."""
    chosen = random.SystemRandom().randrange(2**31) if seed is None else seed
    return Questioner(table, profiles=PEOPLE, handshake=False, seed=chosen)

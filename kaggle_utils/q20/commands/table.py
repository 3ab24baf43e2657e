"""How large the knowledge table is, how healthy, and what it holds about a word or a question."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.knowledge.health import pool_health
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.questions import parse_question

__all__ = ["describe", "main", "question_lines", "word_lines"]

_EXAMPLES = """examples:
  python -m kaggle_utils.q20 table                                            # its size, and the questions' families
  python -m kaggle_utils.q20 table cow                                        # what is known of a word
  python -m kaggle_utils.q20 table "Is it alive?"                             # which words are yes, which are no
  python -m kaggle_utils.q20 table "Does the keyword start with the letter q?"  # spelling: any question will do
"""


def describe(table: KnowledgeTable) -> list[str]:
    """Return a few lines about the whole table."""
    families = Counter(question.family for question in table.bank)
    lexical = int(np.asarray(table.bank.lexical).sum())
    return [
        f"{len(table.objects):,} objects, {len(table.bank):,} questions ({lexical:,} about the spelling)",
        "families: " + ", ".join(f"{name} {count}" for name, count in families.most_common(12)),
    ]


def word_lines(table: KnowledgeTable, word: str, *, count: int = 15) -> list[str]:
    """Return what the table is surest of about a word: questions with P(yes), yes first.

    Raises:
        ValueError: the word is not in the table; the nearest ones are named.
    """
    index = table.objects.index_of(word)
    if index is None:
        near = difflib.get_close_matches(word.casefold(), table.objects.words, n=5)
        raise ValueError(f"{word!r} is not in the table" + (f"; near it: {', '.join(near)}" if near else ""))
    semantic = np.flatnonzero(~np.asarray(table.bank.lexical))
    theta = table.rows([index])[0][semantic]
    rarity = np.asarray(table.unknown)[semantic]
    yes = np.argsort(-(theta - rarity), kind="stable")[:count]
    no = np.argsort(theta - rarity, kind="stable")[: count // 3]
    lines = [f"{table.objects.words[index]} ({', '.join(table.objects.names(index)[1:]) or 'no other names'})"]
    return lines + [f"  {theta[i]:4.0%}  {table.bank.texts[semantic[i]]}" for i in (*yes, *no)]


def question_lines(table: KnowledgeTable, text: str, *, count: int = 15) -> list[str]:
    """Return the share of yes and a few words with either answer.

    Any question on the spelling will do; one on the meaning must be the table's, in these words or similar ones.

    Raises:
        ValueError: the question is neither; the nearest ones are named.
    """
    title, theta = _answers(table, text)
    prior = np.asarray(table.objects.prior)
    likely = np.argsort(-prior, kind="stable")
    words = table.objects.words
    shown = {
        answer: [words[i] for i in likely if (theta[i] > 0.5) == (answer == "yes")][:count] for answer in ("yes", "no")
    }
    lines = [f"{title}: yes for {theta @ prior:.1%} of the prior"]
    return lines + [f"  {answer}: {', '.join(found) or 'none'}" for answer, found in shown.items()]


def _answers(table: KnowledgeTable, text: str) -> tuple[str, np.ndarray]:
    """The question as it was understood, with its family, and P(yes) of every object, float [N]."""
    rule = parse_question(text)
    if rule is not None:
        words = table.objects.words
        return f"{text} (rule: {rule.family})", np.fromiter(map(rule.holds, words), np.float64, len(words))
    found = TableLookup(table).question_of(text)
    if found is None:
        near = "".join(f"\n  {other}" for other in difflib.get_close_matches(text, table.bank.texts, n=5, cutoff=0.3))
        raise ValueError(f"{text!r} is not in the table" + (f"; near it:{near}" if near else ""))
    index, share = found
    return f"{table.bank.texts[index]} ({table.bank[index].family})", share * table.columns([index])[:, 0]


def main(argv: Sequence[str] | None = None) -> int:
    """Print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20 table",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", help="a word, or a question that ends with a question mark")
    parser.add_argument("--table", type=Path, help="a table file (default: the shipped one)")
    parser.add_argument("--health", action="store_true", help="how well questions tell objects apart (a minute)")
    options = parser.parse_args(argv)
    try:
        table = load_table(options.table)
        if options.what is not None and not options.what.strip():
            raise ValueError("expected a word, or a question that ends with a question mark; got nothing")
        if options.what:
            lines = (question_lines if options.what.rstrip().endswith("?") else word_lines)(table, options.what)
        else:
            lines = describe(table)
        if options.health:
            lines += [pool_health(table, lexical=both).to_text() for both in (True, False)]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0

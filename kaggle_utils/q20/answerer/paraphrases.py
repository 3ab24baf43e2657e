"""Common ways to ask the same thing that no rule of wording brings together: "is it edible" for "can you eat it".

They are kept in ``q20/data/paraphrases.txt``, written by hand. Both sides are compared by ``wording_key``, so case,
articles, "usually" and the name for the keyword do not matter.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from kaggle_utils.q20.answerer.wording import wording_key

__all__ = ["load_paraphrases", "paraphrase"]

_FILE = Path(__file__).parents[1] / "data" / "paraphrases.txt"


@lru_cache(maxsize=1)
def load_paraphrases() -> dict[str, str]:
    """Return the key of what is meant for the key of each paraphrase; read once, in about 0.1 s.

    Raises:
        ValueError: a paraphrase stands before any question.
    """
    found: dict[str, str] = {}
    meant = ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            meant = wording_key(line)
        elif not meant:
            raise ValueError(f"{_FILE} begins with the paraphrase {line.strip()!r}; a question must stand before it")
        elif wording_key(line.strip()) != meant:
            found.setdefault(wording_key(line.strip()), meant)
    return found


def paraphrase(key: str) -> str | None:
    """Return the key of a question that means what the question with this ``wording_key`` means, or None.

    >>> paraphrase(wording_key("Is it edible?")) == wording_key("Is it something you can eat?")
    True
    """
    return load_paraphrases().get(key)

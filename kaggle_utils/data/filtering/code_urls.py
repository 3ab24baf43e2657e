"""Code and URLs in a text: where they are, and how much of it they make up."""

from __future__ import annotations

import re

from .findings import Finding
from .settings import FilterSettings
from .texts import TextBatch

__all__ = ["code_spans", "too_much_code_or_urls", "url_spans"]

_FENCE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", flags=re.DOTALL)
_URL = re.compile(r"(?:https?://|www\.)[^\s\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef<>\"]+", flags=re.IGNORECASE)


def code_spans(text: str) -> list[tuple[int, int]]:
    """Fenced blocks, to the end of the text where a fence is not closed, and inline code.

    >>> code_spans("a `b` ```c")
    [(2, 5), (6, 10)]
    """
    return [match.span() for match in _FENCE.finditer(text)] if "`" in text else []


def url_spans(text: str) -> list[tuple[int, int]]:
    """
    >>> url_spans("詳細はhttps://example.com/a?b=1を参照")
    [(3, 28)]
    """
    if "://" not in text and "www." not in text.lower():
        return []
    return [match.span() for match in _URL.finditer(text)]


def too_much_code_or_urls(batch: TextBatch, settings: FilterSettings) -> dict[int, Finding]:
    """Text -> finding, by shares of its characters."""
    found = {}
    limits = (("urls", url_spans, settings.max_url_share), ("code", code_spans, settings.max_code_share))
    for number, text in enumerate(batch.texts):
        for why, spans, limit in limits:
            if limit is None or (":" not in text and "`" not in text and "www" not in text):
                continue
            share = sum(end - start for start, end in spans(text)) / max(1, len(text.strip()))
            if share > limit:
                found.setdefault(number, Finding(why, f"{share:.0%} of the characters, more than {limit:.0%}"))
    return found

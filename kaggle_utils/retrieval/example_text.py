"""Examples and a task written as one text, for models that follow a written pattern better than earlier turns.

It promises that braces and placeholders inside questions and answers stay what they are. It does not count tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ExampleText"]

_PLACES = re.compile(r"\{(question|answer)\}")


@dataclass(frozen=True)
class ExampleText:
    """The wording: ``{question}`` and ``{answer}`` are filled in, everything else stays.

    Raises:
        ValueError: a pattern lacks a placeholder; all such patterns are named.

    >>> print(ExampleText(intro="").write([("1+1?", "2")], "2+2?"))
    ### 質問
    1+1?
    ### 回答
    2
    <BLANKLINE>
    ### 質問
    2+2?
    ### 回答
    <BLANKLINE>
    """

    intro: str = "例にならって、最後の質問に答えてください。\n\n"
    """Stands in front of the examples; left out where there are none."""
    example: str = "### 質問\n{question}\n### 回答\n{answer}\n\n"
    """One example."""
    task: str = "### 質問\n{question}\n### 回答\n"
    """The task, last."""

    def __post_init__(self) -> None:
        wanted = {"example": ("question", "answer"), "task": ("question",)}
        problems = [
            f"{name} is {getattr(self, name)!r}, without {{{place}}}"
            for name, places in wanted.items()
            for place in places
            if f"{{{place}}}" not in getattr(self, name)
        ]
        if problems:
            raise ValueError("this wording loses text:\n" + "\n".join(f"  - {p}" for p in problems))

    def write(self, examples: Sequence[tuple[str, str]], question: str) -> str:
        """Return intro, examples (question, answer) in their order, and the task."""
        shown = [_filled(self.example, question=asked, answer=reply) for asked, reply in examples]
        intro = self.intro if shown else ""
        return intro + "".join(shown) + _filled(self.task, question=question, answer="")


def _filled(pattern: str, **values: str) -> str:
    return _PLACES.sub(lambda match: values[match[1]], pattern)  # one pass: filled-in text is not looked at again

"""The error that lists everything wrong with what was to be published."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MetadataError"]


class MetadataError(ValueError):
    """All problems at once; nothing was written and nothing was sent.

    >>> print(MetadataError("the dataset", ["title 'abc' has 3 characters, expected 6 to 50"]))
    the dataset cannot be published:
      - title 'abc' has 3 characters, expected 6 to 50
    """

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(f"{what} cannot be published:\n" + "\n".join(f"  - {problem}" for problem in self.problems))

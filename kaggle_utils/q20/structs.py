"""The environment's way to hand values to an agent: a dict whose keys are attributes too.

A stand-in for ``kaggle_environments.utils.Struct``, so that agents can be called without kaggle-environments.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Struct"]


class Struct(dict):
    """A dict with attribute access; a missing attribute raises AttributeError, as in the environment.

    >>> obs = Struct(turnType="ask", questions=[])
    >>> obs.turnType, obs["turnType"]
    ('ask', 'ask')
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}; there are {sorted(map(str, self))}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

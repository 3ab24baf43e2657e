"""Turns of a conversation.

It promises that a conversation is a tuple of checked messages whose text any tokenizer can read. It does not know how
a model wants them written: that is ``templates``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Conversation", "Message", "Role", "as_conversation", "assistant", "fold_system", "system", "user"]

Role = Literal["system", "user", "assistant"]

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn.

    Raises:
        ValueError: the role is not one of system, user, assistant.
        TypeError: the content is not a str.

    >>> Message("user", "Is it alive?")
    Message(role='user', content='Is it alive?')
    """

    role: Role
    """Who speaks."""
    content: str
    """What is said. Lone surrogates, which no tokenizer can encode, become U+FFFD."""

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"role {self.role!r} is unknown; use one of {', '.join(_ROLES)}")
        if not isinstance(self.content, str):
            raise TypeError(f"the content of a {self.role} message is {type(self.content).__name__}, expected str")
        object.__setattr__(self, "content", _encodable(self.content))


Conversation = Sequence[Message]


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # halves of surrogate pairs: join what belongs together, replace the rest
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def system(text: str) -> Message:
    """Return a system message.

    >>> system("Be brief.").role
    'system'
    """
    return Message("system", text)


def user(text: str) -> Message:
    """Return a user message.

    >>> user("Hello").role
    'user'
    """
    return Message("user", text)


def assistant(text: str) -> Message:
    """Return an assistant message.

    >>> assistant("Hello").role
    'assistant'
    """
    return Message("assistant", text)


def as_conversation(value: str | Sequence[Message | Mapping[str, str]]) -> tuple[Message, ...]:
    """Return ``value`` as a tuple of messages; a str is one user turn, mappings need "role" and "content".

    Raises:
        ValueError: nothing is there, or some turns are malformed (all of them are named).

    >>> as_conversation("Hi")
    (Message(role='user', content='Hi'),)
    >>> as_conversation([{"role": "user", "content": "Hi"}]) == as_conversation("Hi")
    True
    """
    if isinstance(value, str):
        return (user(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError(
            f"a conversation cannot be made from {type(value).__name__}; give a str (one user turn) "
            "or a list of Message or {'role': ..., 'content': ...}"
        )
    messages: list[Message] = []
    problems: list[str] = []
    for number, turn in enumerate(value):
        try:
            messages.append(_as_message(turn))
        except (TypeError, ValueError) as error:  # noqa: PERF203 - every bad turn is reported
            problems.append(f"turn {number}: {error}")
    if not messages and not problems:
        problems.append("there is no turn at all; give at least one user turn")
    if problems:
        raise ValueError("this is not a conversation:\n" + "\n".join(f"  - {p}" for p in problems))
    return tuple(messages)


def _as_message(turn: Message | Mapping[str, str]) -> Message:
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise TypeError(f"{type(turn).__name__} is no turn; expected a Message or a mapping with role and content")
    missing = [key for key in ("role", "content") if key not in turn]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}, only {', '.join(map(str, turn)) or 'nothing'}")
    return Message(turn["role"], turn["content"])  # type: ignore[arg-type]


def fold_system(conversation: str | Conversation) -> tuple[Message, ...]:
    r"""Return the conversation without system turns, their text put in front of the first user turn.

    Gemma and others have no system role. Several system turns are joined in order; "\n\n" stands between all parts.
    Without a user turn the system text becomes one, at the front.

    >>> fold_system([system("Be brief."), user("Hi")])
    (Message(role='user', content='Be brief.\n\nHi'),)
    """
    turns = as_conversation(conversation)
    rules = "\n\n".join(m.content for m in turns if m.role == "system" and m.content.strip())
    rest = [m for m in turns if m.role != "system"]
    if not rules:
        return tuple(rest) or (user(""),)
    first = next((i for i, m in enumerate(rest) if m.role == "user"), None)
    if first is None:
        return (user(rules), *rest)
    rest[first] = user(f"{rules}\n\n{rest[first].content}")
    return tuple(rest)

"""Chat templates, as jinja, for base models whose tokenizer brings none.

It promises that a template is put into a folder only after its control tokens were found in the vocabulary and it
rendered a conversation whose turns end. The texts render what ``kaggle_utils.chat.templates`` writes under the same
names. It does not know whether the weights were trained on such turns: those of a base model were not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.models.load_options import OFFLINE

__all__ = ["CHAT_TEMPLATES", "FamilyTemplate", "add_chat_template", "check_chat_template"]


@dataclass(frozen=True)
class FamilyTemplate:
    """One family's template."""

    jinja: str
    """Its text."""
    control: tuple[str, ...]
    """Tokens that it needs in the vocabulary."""
    end_of_turn: str
    """The one that ends a turn."""


_GEMMA2 = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

CHAT_TEMPLATES: Mapping[str, FamilyTemplate] = MappingProxyType({
    "gemma2": FamilyTemplate(_GEMMA2, ("<bos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>"),
    "chatml": FamilyTemplate(_CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
})  # fmt: skip
"""By name."""


def check_chat_template(folder: Path, name: str) -> int:
    """Return the id of the token that ends a turn, once ``name`` is found to fit the tokenizer in ``folder``.

    Raises:
        ValueError: an unknown name, a tokenizer that has a template already, tokens that its vocabulary lacks, or turns
            that do not end: all problems at once.
    """
    if name not in CHAT_TEMPLATES:
        raise ValueError(f"chat_template {name!r} is unknown; use one of {', '.join(CHAT_TEMPLATES)}")
    tokenizer = require("transformers", extra="llm").AutoTokenizer.from_pretrained(folder, **OFFLINE)
    family, problems = CHAT_TEMPLATES[name], []
    if tokenizer.chat_template:
        problems.append("the tokenizer has a chat template of its own; leave chat_template out")
    missing = [text for text in family.control if not _is_token(tokenizer, text)]
    if missing:
        problems.append(f"{', '.join(missing)} are no tokens of this vocabulary; choose the template of its family")
    elif problem := _rendering_problem(tokenizer, family):
        problems.append(problem)
    if problems:
        raise ValueError(
            f"{folder}: chat template {name!r} cannot be used:\n" + "\n".join(f"  - {p}" for p in problems)
        )
    return int(tokenizer.convert_tokens_to_ids(family.end_of_turn))


def add_chat_template(folder: Path, name: str, end_id: int) -> None:
    """Write the template into a model folder, and let generation stop where a turn ends."""
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES[name].jinja, encoding="utf-8")
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    ends = settings.get("eos_token_id")
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    settings["eos_token_id"] = [*ends, *([end_id] if end_id not in ends else [])]
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _is_token(tokenizer: Any, text: str) -> bool:
    number = tokenizer.convert_tokens_to_ids(text)
    if number is None or tokenizer.convert_ids_to_tokens(number) != text:
        return False
    return tokenizer(text, add_special_tokens=False)["input_ids"] == [number]


def _rendering_problem(tokenizer: Any, family: FamilyTemplate) -> str | None:
    turns = [{"role": role, "content": f"{role} text"} for role in ("user", "assistant", "user")]
    try:
        text = tokenizer.apply_chat_template(
            turns, chat_template=family.jinja, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # jinja has errors of many kinds
        return f"it does not render: {type(error).__name__}: {error}"
    if text.count(family.end_of_turn) != len(turns) or any(turn["content"] not in text for turn in turns):
        return f"turns do not end with {family.end_of_turn}: {text!r}"
    if "<bos>" in family.control and not text.startswith("<bos>"):
        return f"it does not begin with <bos>, because the tokenizer's BOS token is {tokenizer.bos_token!r}"
    return None

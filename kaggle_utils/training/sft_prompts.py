"""How rows of fine-tuning are written: a chat template, or headings in the style of Alpaca for base models.

It promises that text of users and responses never becomes a control token, and that a prompt has the very ids that
generation gives it: what is returned here serves ``HFGenerator(..., template=...)`` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kaggle_utils.chat.templates import TEMPLATES, ChatTemplate, template_for
from kaggle_utils.chat.token_ids import Segment

__all__ = ["HEADINGS", "alpaca_template", "sft_template"]

HEADINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"alpaca": ("### Instruction:\n", "### Response:\n"), "alpaca-ja": ("### 指示:\n", "### 応答:\n")}
)
"""Text before the instruction and before the response, by name."""


def alpaca_template(
    tokenizer: Any, *, instruction: str = HEADINGS["alpaca"][0], response: str = HEADINGS["alpaca"][1], name: str = ""
) -> ChatTemplate:
    """Return a template with headings instead of control tokens: BOS where the tokenizer begins texts with it.

    A system turn stands above the first heading. A response ends with EOS.

    Raises:
        ValueError: a tokenizer without EOS: nothing would end a response.
    """
    if tokenizer.eos_token is None:
        raise ValueError("the tokenizer has no EOS token, so no response could end; set tokenizer.eos_token")
    begins = list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]
    return ChatTemplate(
        name=name or "alpaca",
        end_of_turn=(tokenizer.eos_token,),
        begin=(Segment(tokenizer.bos_token, control=True),) if begins and tokenizer.bos_token else (),
        headers={
            "system": (),
            "user": (Segment(instruction, control=False),),
            "assistant": (Segment(response, control=False),),
        },
        footer=(Segment("\n\n", control=False),),
        trims=True,
    )


def sft_template(tokenizer: Any, name: str | None) -> Any:
    """Return the template called ``name``: of :data:`HEADINGS`, of ``chat.templates``, None for the tokenizer's own.

    Raises:
        ValueError: an unknown name, or None for a tokenizer that has no template; the message lists the names.
    """
    if name in HEADINGS:
        instruction, response = HEADINGS[name]
        return alpaca_template(tokenizer, instruction=instruction, response=response, name=name)
    try:
        return template_for(tokenizer, name)
    except ValueError as error:
        known = ", ".join([*HEADINGS, *TEMPLATES])
        raise ValueError(f"{error}. For fine-tuning there are: {known}") from error

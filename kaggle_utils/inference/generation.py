"""Replies and yes/no probabilities from a transformers model.

It promises replies in the order of the conversations, each ending where its turn ends, and that text in a conversation
stays text. It does not know where the model came from or what the replies are for.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.chat.messages import Conversation, as_conversation
from kaggle_utils.chat.templates import ChatTemplate, template_for
from kaggle_utils.inference.batching import left_pad, run_in_batches
from kaggle_utils.inference.forbidden import ForbiddenStrings, ForbiddingProcessor
from kaggle_utils.inference.prompt_budget import fit_conversation
from kaggle_utils.inference.stopping import StopAtDeadline, StopAtStrings, cut_at_stop_string, stop_token_ids
from kaggle_utils.inference.token_bytes import TokenBytes, token_bytes
from kaggle_utils.inference.yes_no import next_token_logits, probability_of_yes, yes_no_token_ids
from kaggle_utils.models.loading import load_causal_lm

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["HFGenerator"]

# What a model's own generation_config may still decide; sampling, lengths and penalties come from the settings.
_KEPT = ("bos_token_id", "cache_implementation", "bad_words_ids", "suppress_tokens")


class HFGenerator:
    """A :class:`kaggle_utils.chat.generator.TextGenerator` around a model in memory.

    Calls from several threads run one after another.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: ChatTemplate | str | None = None,
        batch_size: int = 8,
        max_prompt_tokens: int = 4096,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: a causal language model in eval mode.
            tokenizer: its tokenizer; a pad token is not needed.
            template: how conversations are written: a template, the name of one, or None for the tokenizer's own.
            batch_size: most conversations in one forward; halved when a GPU runs out of memory.
            max_prompt_tokens: longer prompts lose the middle of their longest contents.

        Raises:
            ValueError: an unknown template, or sizes below 1.
        """
        if batch_size < 1 or max_prompt_tokens < 1:
            raise ValueError(
                f"batch_size={batch_size} and max_prompt_tokens={max_prompt_tokens} must both be 1 or more"
            )
        self.model, self.tokenizer = model, tokenizer
        named = template is None or isinstance(template, str)
        self.template: Any = template_for(tokenizer, template) if named else template
        self.batch_size, self.max_prompt_tokens = batch_size, max_prompt_tokens
        self.stop_ids = stop_token_ids(tokenizer, model, self.template.end_of_turn)
        # Padding is masked, so any id serves where the tokenizer has none.
        self.pad_id: int = next((i for i in (tokenizer.pad_token_id, *self.stop_ids) if i is not None), 0)
        self._yes_no_ids: tuple[list[int], list[int]] | None = None
        self._token_bytes: TokenBytes | None = None
        self._forbidden: ForbiddenStrings | None = None
        self._lock = threading.RLock()

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        quantization: str = "none",
        device_map: str | int | Mapping[str, int | str] = "auto",
        dtype: str | torch.dtype = "auto",
        template: ChatTemplate | str | None = None,
        batch_size: int = 8,
        max_prompt_tokens: int = 4096,
        **options: Any,
    ) -> HFGenerator:
        """Load a model folder with :func:`kaggle_utils.models.loading.load_causal_lm` and wrap it.

        ``options`` are further ones of the constructor of the class that this is called on.
        """
        model, tokenizer = load_causal_lm(path, quantization=quantization, device_map=device_map, dtype=dtype)
        return cls(
            model, tokenizer, template=template, batch_size=batch_size, max_prompt_tokens=max_prompt_tokens, **options
        )

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return one reply per conversation, in order, without control tokens and without its stop string.

        ``settings.time_limit`` holds for the call as a whole and is looked at before each token (reading a batch of
        prompts is one step that nothing cuts short): when it is over, replies in work are returned as far as they came
        and conversations not begun get ``""``. With ``settings.seed`` the same call gives the same replies on the same
        machine, and the global random state stays as it was.

        Raises:
            ValueError: a conversation that the template cannot write, or no room in the model's window.
            torch.cuda.OutOfMemoryError: one conversation alone does not fit.
        """
        settings = settings or GenerationSettings()
        deadline = float("inf") if settings.time_limit is None else time.monotonic() + settings.time_limit
        with self._lock, _seeded(settings.seed), self._generation_config(settings):
            prompts = [self._prompt_ids(conversation, settings.max_new_tokens) for conversation in conversations]

            def run(rows: list[list[int]]) -> list[str]:
                return self._generate_batch(rows, settings, deadline)

            return run_in_batches(prompts, run, batch_size=self.batch_size, progress="generate")

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) / (P(yes) + P(no)) for the next token of each conversation, in order.

        One forward per batch; the mass is summed in float32 over the spellings in ``inference.yes_no``. In half
        precision a row's value may depend on its batch in the third digit.

        Raises:
            ValueError: a conversation that the template cannot write, or a tokenizer that cannot tell yes from no.
            FloatingPointError: the model overflows in its dtype.
            torch.cuda.OutOfMemoryError: one conversation alone does not fit.
        """
        with self._lock:
            if self._yes_no_ids is None:
                self._yes_no_ids = yes_no_token_ids(self.tokenizer)
            yes, no = self._yes_no_ids

            def run(rows: list[list[int]]) -> list[float]:
                return probability_of_yes(next_token_logits(self.model, rows, pad_id=self.pad_id), yes, no)

            prompts = [self._prompt_ids(conversation, 1) for conversation in conversations]
            return run_in_batches(prompts, run, batch_size=self.batch_size, progress="yes/no")

    def forbidden(self, strings: Sequence[str]) -> ForbiddenStrings:
        """Return the tables that ban ``strings``; the last ones are kept."""
        if self._forbidden is None or self._forbidden.strings != tuple(strings):
            self._forbidden = ForbiddenStrings(self.tokenizer, self.token_bytes(), strings)
        return self._forbidden

    def token_bytes(self) -> TokenBytes:
        """Return what each token adds to a reply, read from the tokenizer once."""
        if self._token_bytes is None:
            self._token_bytes = token_bytes(self.tokenizer)
        return self._token_bytes

    def _prompt_ids(self, conversation: Conversation, new_tokens: int) -> list[int]:
        limit = self.max_prompt_tokens
        window = getattr(self.model.config, "max_position_embeddings", None)
        if window:
            limit = min(limit, window - new_tokens)
        if limit < 1:
            raise ValueError(
                f"max_new_tokens={new_tokens} leaves no room for a prompt in this model's window of {window}"
            )

        def encode(turns: Conversation) -> list[int]:
            return self.template.encode(turns, self.tokenizer)

        return fit_conversation(as_conversation(conversation), encode, max_tokens=limit)

    def _generate_batch(self, rows: list[list[int]], settings: GenerationSettings, deadline: float) -> list[str]:
        if time.monotonic() >= deadline:
            return [""] * len(rows)
        torch = require("torch", extra="llm")
        ids, mask = left_pad(rows, pad_id=self.pad_id, device=self.model.get_input_embeddings().weight.device)
        width = ids.shape[1]
        stops: list[Any] = [StopAtDeadline(deadline)]
        if settings.stop_strings:
            stops.append(StopAtStrings(self.tokenizer, settings.stop_strings, prompt_width=width))
        transformers = require("transformers", extra="llm")
        criteria, processors = transformers.StoppingCriteriaList(stops), transformers.LogitsProcessorList()
        if settings.forbidden_strings:
            processors.append(ForbiddingProcessor(self.forbidden(settings.forbidden_strings), prompt_width=width))
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, stopping_criteria=criteria, logits_processor=processors
            )
        return [self._reply(row, settings.stop_strings) for row in output[:, width:].tolist()]

    def _reply(self, new_ids: list[int], stop_strings: Sequence[str]) -> str:
        end = next((i for i, number in enumerate(new_ids) if number in self.stop_ids), len(new_ids))
        text = self.tokenizer.decode(new_ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return cut_at_stop_string(text, stop_strings)

    @contextlib.contextmanager
    def _generation_config(self, settings: GenerationSettings) -> Iterator[None]:
        """Put the settings in the place of the model's own while one call runs.

        Passed as arguments they would be merged with the model's defaults (a temperature of 0.6, a top_k of 64), with
        a warning for each one that greedy decoding ignores.
        """
        sampling: dict[str, Any] = {"do_sample": False}
        if settings.temperature > 0:
            sampling = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
        own = self.model.generation_config
        kept = {name: value for name in _KEPT if (value := getattr(own, name, None)) is not None}
        self.model.generation_config = require("transformers", extra="llm").GenerationConfig(
            max_new_tokens=settings.max_new_tokens,
            repetition_penalty=float(settings.repetition_penalty),
            eos_token_id=self.stop_ids or None,
            pad_token_id=self.pad_id,
            use_cache=True,
            **sampling,
            **kept,
        )
        try:
            yield
        finally:
            self.model.generation_config = own


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    torch = require("torch", extra="llm")
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield

"""Replies to many conversations at once: a row that is finished leaves the batch, and the next takes its place.

It promises the replies of :class:`kaggle_utils.inference.generation.HFGenerator`, one by one, in the order of the
conversations: greedy decoding gives the tokens of ``model.generate`` exactly in float32 on a CPU, and in half precision
wherever the two likeliest tokens differ by more than rounding. It is for many prompts; for one at a time it saves
nothing.

Why not transformers' own continuous batching (``model.generate_batch``, 5.17 to 5.23)? It marks the repetition penalty
as unsupported, knows no stop or forbidden strings, and draws samples from one stream of random numbers for all rows, so
that a row depends on its company. Gemma 2 (soft-caps, so neither SDPA nor, without an extra package, flash attention)
runs there on ``paged|eager``, which lays the cache of all rows out side by side, repeats each key for every head that
shares it and scores every query against every row. Here one kernel reads each key once (``models.paged_attention``).
vLLM does all that and more, but pins its own torch and transformers and needs a server-sized install; where it is
installed, any object with ``generate`` and ``yes_no`` (``chat.generator.TextGenerator``) can stand in its place.

How the time goes: reading prompts costs arithmetic, so they are read in groups of some thousand tokens; a step for one
more token costs reading all weights once, for one row or a hundred. Kept in ``inference.continuous_run``.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.chat.messages import Conversation
from kaggle_utils.chat.templates import ChatTemplate
from kaggle_utils.inference.byte_automaton import ByteAutomaton
from kaggle_utils.inference.continuous_run import ContinuousRun
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.decoding_row import DecodingRow, Generated
from kaggle_utils.inference.generation import HFGenerator
from kaggle_utils.inference.token_choice import TokenChoice

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ContinuousGenerator"]


class ContinuousGenerator(HFGenerator):
    """A :class:`kaggle_utils.chat.generator.TextGenerator` that keeps a GPU busy with many rows.

    Calls from several threads run one after another. ``yes_no`` is that of ``HFGenerator``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: ChatTemplate | str | None = None,
        batch_size: int = 8,
        max_prompt_tokens: int = 4096,
        slots: int | None = None,
        cache_gib: float | None = None,
        prefill_tokens: int | None = None,
        graphs: bool = True,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: a causal language model in eval mode with ordinary attention (Llama, Gemma 2, Qwen 2, Mistral ...).
            tokenizer: its tokenizer; a pad token is not needed.
            template: how conversations are written: a template, the name of one, or None for the tokenizer's own.
            batch_size: most conversations in one forward of ``yes_no``.
            max_prompt_tokens: longer prompts lose the middle of their longest contents.
            slots: most rows at once; None for 128 on a GPU (16 on a CPU) or as many as its memory holds. Halved when a
                GPU runs out of memory.
            cache_gib: most GiB for keys and values; None for what is free on a GPU.
            prefill_tokens: most prompt tokens in one forward; None for 8,192, on cards below 30 GiB 4,096.
            graphs: record steps as CUDA graphs where that is possible.

        Raises:
            ValueError: an unknown template, sizes below 1, or a model with another kind of cache.
        """
        super().__init__(
            model, tokenizer, template=template, batch_size=batch_size, max_prompt_tokens=max_prompt_tokens
        )
        sizes = {"slots": slots, "cache_gib": cache_gib, "prefill_tokens": prefill_tokens}
        if wrong := [f"{name}={value}" for name, value in sizes.items() if value is not None and value <= 0]:
            raise ValueError(f"{', '.join(wrong)}: expected more than 0, or None")
        self.rows = ContinuousRun(model, slots=slots, cache_gib=cache_gib, prefill_tokens=prefill_tokens, graphs=graphs)

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return one reply per conversation, in order, without control tokens and without its stop string.

        As ``HFGenerator.generate``, except that with ``settings.seed`` a row's reply is the same whatever rows are
        beside it (up to rounding); the same conversation given twice gets two replies. The global random state is
        never touched.

        Raises:
            ValueError: a conversation that the template cannot write, or no room in the model's window.
            FloatingPointError: the model overflows in its dtype.
            torch.cuda.OutOfMemoryError: one conversation alone does not fit.
        """
        return [one.text for one in self.generate_each(conversations, settings)]

    def generate_each(
        self,
        conversations: Sequence[Conversation],
        settings: GenerationSettings | None = None,
        *,
        max_new_tokens: Sequence[int | None] | None = None,
        time_limits: Sequence[float | None] | None = None,
        keys: Sequence[str] | None = None,
        deadline: float | Deadline | None = None,
        on_done: Callable[[int, Generated], None] | None = None,
        progress: str = "generate",
    ) -> list[Generated]:
        """Return replies with their figures, in order.

        Args:
            conversations: what to reply to.
            settings: for all of them.
            max_new_tokens: for each; None where the settings' holds.
            time_limits: seconds for each from its own start; None for none.
            keys: names that the random numbers of each depend on, besides the seed; by default its tokens and how
                often they came before.
            deadline: for the call, besides ``settings.time_limit``.
            on_done: called with place and reply as soon as a row is over.
            progress: name of the bar.
        """
        settings = settings or GenerationSettings()
        end = min(Deadline.of(settings.time_limit).at, Deadline.of(deadline).at)
        results: dict[int, Generated] = {}

        def done(row: DecodingRow) -> None:
            results[row.index] = self._generated(row, settings)
            if on_done is not None:
                on_done(row.index, results[row.index])

        with self._lock:
            count = len(conversations)
            rows = self._rows(
                conversations, settings, max_new_tokens or [None] * count, time_limits or [None] * count, keys, end
            )
            self.rows.run(
                rows, self._choice(settings), ended=self._ending(settings), on_done=done, deadline=end,
                progress=progress,
            )  # fmt: skip
        return [results[i] for i in range(count)]

    def _rows(self, conversations, settings, limits, seconds, keys, end) -> list[DecodingRow]:
        rows, met = [], Counter()
        for index, conversation in enumerate(conversations):
            limit = settings.max_new_tokens if limits[index] is None else limits[index]
            # Past the deadline a row is not going to be read, so it need not be tokenised.
            prompt = self._prompt_ids(conversation, limit) if time.monotonic() < end else []
            digest = hashlib.sha256(repr(prompt).encode()).digest()
            met[digest] += 1
            key = keys[index].encode() if keys is not None else digest + str(met[digest]).encode()
            allowed = math.inf if seconds[index] is None else seconds[index]
            rows.append(DecodingRow(index, prompt, limit, key, allowed))
        return rows

    def _choice(self, settings: GenerationSettings) -> TokenChoice:
        forbidden = self.forbidden(settings.forbidden_strings) if settings.forbidden_strings else None
        return TokenChoice(settings, forbidden=forbidden, more=self._own_bans())

    def _own_bans(self) -> Any:
        """What the model's own generation_config bans, as transformers' processors."""
        transformers = require("transformers", extra="llm")
        own = self.model.generation_config
        processors = transformers.LogitsProcessorList()
        if words := getattr(own, "bad_words_ids", None):
            processors.append(transformers.NoBadWordsLogitsProcessor(words, self.stop_ids or None))
        if tokens := getattr(own, "suppress_tokens", None):
            processors.append(transformers.SuppressTokensLogitsProcessor(tokens, device=str(self.model.device)))
        return processors or None

    def _ending(self, settings: GenerationSettings) -> Callable[[DecodingRow], str]:
        """Why a row is over after its newest token, or ""; it follows the row's text."""
        stops, stop_ids = settings.stop_strings, set(self.stop_ids)
        automaton = ByteAutomaton(stops)
        tokens = self.token_bytes() if stops or settings.forbidden_strings else None
        forbidden = self.forbidden(settings.forbidden_strings) if settings.forbidden_strings else None
        window = 4 * max(map(len, stops), default=0) + 8

        def ended(row: DecodingRow) -> str:
            token = row.new[-1]
            if token in stop_ids:
                return "stop"
            if forbidden is not None:
                row.forbidden_state = forbidden.after(row.forbidden_state, token)
            if not stops:
                return ""
            if not tokens.exact:
                tail = self.tokenizer.decode(row.new[-window:], skip_special_tokens=True)
                return "stop" if any(stop in tail for stop in stops) else ""
            piece = tokens.pieces[token] if token < len(tokens.pieces) else b""
            row.stop_state = automaton.after(row.stop_state, piece)
            return "stop" if automaton.holds(row.stop_state) else ""

        return ended

    def _generated(self, row: DecodingRow, settings: GenerationSettings) -> Generated:
        text = self._reply(row.new, settings.stop_strings)
        return Generated(text, len(row.prompt), len(row.new), row.seconds, row.finish)

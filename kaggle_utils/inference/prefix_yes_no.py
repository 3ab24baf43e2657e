"""P(yes) for many questions about few things: each shared beginning of the prompts is computed once.

It promises the values of ``HFGenerator.yes_no`` within rounding, in the order of the conversations: the first call
checks some rows against it, and a model that cannot take a mask of this kind is asked the plain way from then on. The
prompts are packed into one sequence as a tree (``prefix_packs``), so a thing's description, its keys and its values
serve all of its questions. It does not know what the conversations are about.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.chat.messages import Conversation, as_conversation
from kaggle_utils.inference.batch_encoding import BatchEncoder
from kaggle_utils.inference.generation import HFGenerator
from kaggle_utils.inference.prefix_packs import pack_prefixes, split_packs
from kaggle_utils.inference.yes_no import probability_of_yes, yes_no_token_ids

__all__ = ["PrefixYesNo", "packed_logits"]

_logger = logging.getLogger(__name__)

_CHECKED_ROWS = 4
_LENGTH_MULTIPLE = 64  # attention kernels want aligned masks, and like lengths reuse memory


def packed_logits(model: Any, rows: Sequence[Sequence[int]]) -> Any:
    """Return the logits after the last token of each row, float32 on the CPU [rows, vocabulary], from one forward.

    Rows that follow each other share the tokens that they begin with in common; sort them. The mask grows with the
    square of the tokens in the pack.
    """
    torch = require("torch", extra="llm")
    pack = pack_prefixes(rows, multiple=_LENGTH_MULTIPLE)
    device, dtype = model.get_input_embeddings().weight.device, model.dtype
    allowed = torch.from_numpy(pack.mask).to(device)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, torch.finfo(dtype).min)
    with torch.inference_mode():
        output = model(
            input_ids=torch.from_numpy(pack.ids)[None].to(device),
            attention_mask=mask[None, None],
            position_ids=torch.from_numpy(pack.positions)[None].to(device),
            use_cache=False,
            logits_to_keep=torch.from_numpy(pack.ends).to(device),
        )
    return output.logits[0].float().cpu()


class PrefixYesNo:
    """A :class:`kaggle_utils.chat.generator.TextGenerator` whose ``yes_no`` shares the beginnings of prompts.

    Its generator must not be used from another thread meanwhile.
    """

    def __init__(
        self, generator: HFGenerator, *, max_tokens: int | None = None, tolerance: float | None = None
    ) -> None:
        """Wrap a generator.

        Args:
            generator: whose model, tokenizer and template are used.
            max_tokens: tokens in one forward, by default 512 on a CPU and 2,048 on a GPU; fewer when a GPU runs out
                of memory. Longer prompts go the plain way.
            tolerance: largest difference of P(yes) from the plain way at which packing is trusted; by default 0.001
                in float32 and 0.05 in half precision, where a value depends on its batch in any case.

        Raises:
            ValueError: ``max_tokens`` below 1, or a tokenizer that cannot tell yes from no.
        """
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} must be 1 or more, for example 2048")
        torch = require("torch", extra="llm")
        on_cpu = generator.model.get_input_embeddings().weight.device.type == "cpu"
        self.generator = generator
        self.max_tokens = max_tokens or (512 if on_cpu else 2048)
        self.tolerance = tolerance or (0.001 if generator.model.dtype == torch.float32 else 0.05)
        self.packs: bool | None = None if _takes_packs(generator.model) else False
        """Whether prompts are packed; None until the first call has compared."""
        self._encoder = BatchEncoder(generator.template, generator.tokenizer)
        self._answer_ids = yes_no_token_ids(generator.tokenizer)
        self._lock = threading.RLock()

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        max_tokens: int | None = None,
        tolerance: float | None = None,
        **options: Any,
    ) -> PrefixYesNo:
        """Load a model folder with ``HFGenerator.from_folder``, which takes ``options``, and wrap it."""
        return cls(HFGenerator.from_folder(path, **options), max_tokens=max_tokens, tolerance=tolerance)

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return the generator's own replies."""
        return self.generator.generate(conversations, settings)

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) / (P(yes) + P(no)) for the next token of each conversation, in order.

        Conversations may come in any order; those about one thing share most if they come in one call.

        Raises:
            ValueError: a conversation that the template cannot write.
            FloatingPointError: the model overflows in its dtype.
            torch.cuda.OutOfMemoryError: one conversation alone does not fit.
        """
        with self._lock:
            turns = [as_conversation(conversation) for conversation in conversations]
            rows = self._encoder.encode(turns)
            if self.packs is None and rows:
                self.packs = self._compared(turns, rows)
            limit = self._limit() if self.packs else 0
            found: dict[int, float] = {}
            packed = [index for index, row in enumerate(rows) if len(row) <= limit]
            found.update(zip(packed, self._packed([rows[index] for index in packed]), strict=True))
            plain = [index for index in range(len(rows)) if index not in found]
            found.update(zip(plain, self.generator.yes_no([turns[index] for index in plain]), strict=True))
            return [found[index] for index in range(len(rows))]

    def _limit(self) -> int:
        """Tokens of the longest prompt that may be packed: no window of the model may cut it short."""
        config = self.generator.model.config
        windows = [getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")]
        return min([self.max_tokens, self.generator.max_prompt_tokens, *(window for window in windows if window)])

    def _packed(self, rows: list[list[int]]) -> list[float]:
        """Values of rows, in order. Out of memory, packs get half as large from there on."""
        found: dict[int, float] = {}
        waiting = split_packs(rows, max_tokens=self.max_tokens)
        with tqdm(total=len(rows), desc="yes/no", delay=2, disable=len(waiting) <= 1) as bar:
            while waiting:
                pack = waiting[0]
                values = self._attempt([rows[index] for index in pack])
                if values is None:
                    self.max_tokens = max(1, min(self.max_tokens, sum(len(rows[index]) for index in pack)) // 2)
                    _logger.warning("out of GPU memory; going on with packs of %d tokens", self.max_tokens)
                    left = [index for pack in waiting for index in pack]
                    smaller = split_packs([rows[index] for index in left], max_tokens=self.max_tokens)
                    waiting = [[left[place] for place in pack] for pack in smaller]
                    continue
                found.update(zip(pack, values, strict=True))
                bar.update(len(pack))
                del waiting[0]
        return [found[index] for index in range(len(rows))]

    def _attempt(self, rows: list[list[int]]) -> list[float] | None:
        """Values of one pack; None when the GPU is out of memory and a smaller pack may help."""
        torch = require("torch", extra="llm")
        try:
            return probability_of_yes(packed_logits(self.generator.model, rows), *self._answer_ids)
        except torch.cuda.OutOfMemoryError:
            if len(rows) == 1:
                raise
        torch.cuda.empty_cache()  # only here: the exception's traceback held the tensors
        return None

    def _compared(self, turns: Sequence[Conversation], rows: list[list[int]]) -> bool:
        """Whether a pack gives what the plain way gives, for the first rows that may be packed."""
        limit = self._limit()
        chosen = [index for index, row in enumerate(rows) if len(row) <= limit][:_CHECKED_ROWS]
        if not chosen:
            return True
        plain = self.generator.yes_no([turns[index] for index in chosen])
        try:
            packed = self._packed([rows[index] for index in chosen])
        except (TypeError, ValueError, RuntimeError, FloatingPointError) as error:
            _logger.warning(
                "%s takes no packed prompts (%s); asking plainly", type(self.generator.model).__name__, error
            )
            return False
        worst = max(abs(a - b) for a, b in zip(plain, packed, strict=True))
        if worst > self.tolerance:
            _logger.warning("packed prompts differ by %.3g from plain ones (tolerance %g); asking plainly",
                            worst, self.tolerance)  # fmt: skip
        return worst <= self.tolerance


def _takes_packs(model: Any) -> bool:
    """Whether a model takes what a pack needs: positions, chosen logits, and a kernel that reads a full mask."""
    takes = inspect.signature(model.forward).parameters
    kernel = getattr(model.config, "_attn_implementation", "eager")
    return {"position_ids", "logits_to_keep"} <= set(takes) and kernel in ("eager", "sdpa")

"""Many rows through a few places: prompts in groups, one token a step for all, and who leaves makes room.

It promises that every row is answered once, in any order, whatever leaves or joins beside it, and that running out of
GPU memory costs time, not tokens: half of the places, and the rows at work are read again with what they have. It
does not know tokenizers: token ids in, token ids out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.inference.cache_plan import CachePlan, cache_shape, pages_for, plan_cache
from kaggle_utils.inference.decode_step import DecodeStep, paged_attention
from kaggle_utils.inference.decoding_row import DecodingRow
from kaggle_utils.inference.failures import free_memory, is_out_of_memory
from kaggle_utils.inference.token_choice import TokenChoice
from kaggle_utils.models.paged_attention import PAGE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ContinuousRun"]

_logger = logging.getLogger(__name__)

_GIB = 1 << 30
_LOOKED_AT = 64  # waiting rows that are tried for a room before the next step


class ContinuousRun:
    """A model and its places; a second call uses the cache and the recorded steps of the first where they suffice.

    Attributes:
        plan: places, pages and prompt tokens a forward of the last call.
        step: what runs the model; None before the first call and after a setback.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        slots: int | None = None,
        cache_gib: float | None = None,
        prefill_tokens: int | None = None,
        graphs: bool = True,
    ) -> None:
        """See :class:`kaggle_utils.inference.continuous.ContinuousGenerator` for the arguments.

        Raises:
            ValueError: a model whose cache is not one of keys and values a head.
        """
        torch = require("torch", extra="llm")
        self.model, self.cache_gib, self.graphs = model, cache_gib, graphs
        self.shape = cache_shape(model.config)
        self.device = model.get_input_embeddings().weight.device
        self._cuda = self.device.type == "cuda"
        total = torch.cuda.get_device_properties(self.device).total_memory if self._cuda else 0
        self.slots = slots or (128 if self._cuda else 16)
        self.prefill_tokens = prefill_tokens or (8192 if total > 30 * _GIB else 4096 if total > 12 * _GIB else 2048)
        self.plan: CachePlan | None = None
        self.step: DecodeStep | None = None
        self._most_pages = math.inf

    def run(
        self,
        rows: Iterable[DecodingRow],
        choice: TokenChoice,
        *,
        ended: Callable[[DecodingRow], str],
        on_done: Callable[[DecodingRow], None] = lambda row: None,
        deadline: float = math.inf,
        progress: str = "",
    ) -> None:
        """Fill ``new``, ``finish`` and ``seconds`` of all rows.

        Args:
            rows: with a prompt of one token or more each.
            choice: chooses tokens.
            ended: called after each token; why the row is over, or "".
            on_done: called as soon as a row is over, in the order of ending.
            deadline: on the monotonic clock; rows at work end there with what they have, others with nothing.
            progress: name of a bar, shown after 2 s.

        Raises:
            torch.cuda.OutOfMemoryError: one row alone does not fit.
        """
        torch = require("torch", extra="llm")
        waiting = sorted(rows, key=lambda row: (-row.length, row.index))
        if not waiting:
            return
        bar = tqdm(total=len(waiting), desc=progress, delay=2, disable=not progress)
        with torch.inference_mode(), paged_attention(self.model), bar:

            def done(row: DecodingRow) -> None:
                bar.update()
                on_done(row)

            batch = _Batch(self, waiting, choice, ended, done)
            while batch.busy:
                if time.monotonic() >= deadline:
                    batch.end_all("deadline")
                    break
                if not self._try(batch.advance):
                    self._shrink(batch)

    def ready(self, rows: Sequence[DecodingRow]) -> DecodeStep:
        """The step for ``rows``: the one at hand, or a new one where that is too small."""
        plan = self._planned(rows)
        width = pages_for(max(row.most for row in rows), page=PAGE)
        if self.step is not None:
            # What is free wavers a little between calls, which is no reason to record all steps again.
            fits = plan.pages <= 1.05 * self.step.pages and width < self.step.pages
            if fits and plan.slots <= self.step.slots and width <= self.step.width:
                self.plan = plan
                return self.step
            self.step = None
            free_memory()
            plan = self._planned(rows)
        self.plan = plan
        self.step = DecodeStep(self.model, slots=plan.slots, pages=plan.pages, width=width, graphs=self.graphs)
        _logger.info("%d rows at once, %d pages of %d tokens", plan.slots, plan.pages - 1, PAGE)
        return self.step

    def _planned(self, rows: Sequence[DecodingRow]) -> CachePlan:
        itemsize = require("torch", extra="llm").empty((), dtype=self.model.dtype).element_size()
        page_bytes = self.shape.numbers_per_token * PAGE * itemsize
        sizes = [(row.length, row.most) for row in rows]
        return plan_cache(
            self.shape,
            sizes,
            page=PAGE,
            itemsize=itemsize,
            free_bytes=self._free_bytes(page_bytes),
            slots=self.slots,
            prefill_tokens=self.prefill_tokens,
            most_pages=min(self._most_pages, (self.cache_gib or math.inf) * _GIB // page_bytes),
        )

    def _free_bytes(self, page_bytes: int) -> float:
        """What the cache and a step may take, a cache that is there already included."""
        if not self._cuda:
            return math.inf  # there the slots decide
        torch = require("torch", extra="llm")
        free = torch.cuda.mem_get_info(self.device)[0]
        idle = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return float(free + idle + (self.step.pages * page_bytes if self.step is not None else 0))

    def _try(self, advance: Callable[[], None]) -> bool:
        """False when the GPU is out of memory and fewer rows may help."""
        try:
            advance()
        except Exception as error:
            if not is_out_of_memory(error) or self.slots <= 1:
                raise
        else:
            return True
        return False

    def _shrink(self, batch: _Batch) -> None:
        """Half of the places and of the cache; called when the error and what its frames held are gone."""
        at_work = len(batch.live) or self.slots
        self.slots = max(1, min(self.slots, at_work) // 2)
        self.prefill_tokens = max(512, self.prefill_tokens // 2)
        if self.step is not None:
            self._most_pages = max(2, self.step.pages // 2)
        batch.start_again()
        self.step = None
        free_memory()
        _logger.warning("out of GPU memory with %d rows at once; going on with %d", at_work, self.slots)


class _Batch:
    """The rows of one call: those that wait, longest first, and those at work, each at its place."""

    def __init__(self, run: ContinuousRun, waiting: list[DecodingRow], choice: TokenChoice, ended: Any, done: Any):
        self._run, self._waiting, self._choice, self._ended, self._done = run, waiting, choice, ended, done
        self.live: list[DecodingRow] = []
        self._step: DecodeStep | None = None
        self._free: list[int] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self.live)

    def advance(self) -> None:
        """Read the next prompts if there is room for any, else one more token of every row at work."""
        if self._step is None:
            self._step = self._run.ready(self._waiting)
            self._free = list(range(self._step.pages - 1, 0, -1))
            self._choice.begin(self._step.slots)
        first = len(self.live)
        if self._admit():
            rows = self.live[first:]
            logits = self._step.prefill(rows)
            for place, row in enumerate(rows, first):
                self._step.place(place, row)
                self._choice.admit(place, row, logits)
            self._take(logits, first)
        else:
            self._take(self._step.decode(self.live), 0)

    def end_all(self, reason: str) -> None:
        """End every row as far as it came."""
        for row in [*self.live, *self._waiting]:
            self._end(row, reason)
        self.live, self._waiting = [], []

    def start_again(self) -> None:
        """Send the rows at work back to wait; they keep their tokens."""
        for row in self.live:
            row.pages = []
        self._waiting = sorted([*self.live, *self._waiting], key=lambda row: (-row.length, row.index))
        self.live, self._step = [], None

    def _admit(self) -> bool:
        """Give places and pages to rows that wait, as many as one prefill holds; whether there were any."""
        tokens, taken, missed, now = 0, [], 0, time.monotonic()
        for position, row in enumerate(self._waiting):
            if len(self.live) == self._step.slots or missed == _LOOKED_AT:
                break
            need = pages_for(row.most, page=PAGE)
            if need > len(self._free):
                missed += 1  # a shorter one may fit
                continue
            if tokens and tokens + row.length > self._run.prefill_tokens:
                break
            tokens += row.length
            row.pages = [self._free.pop() for _ in range(need)]
            row.started = row.started or now
            self.live.append(row)
            taken.append(position)
        for position in reversed(taken):
            del self._waiting[position]
        return bool(taken)

    def _take(self, logits: Any, first: int) -> None:
        """Add a token to the rows from place ``first`` on, and let go of those that are over."""
        rows = self.live[first:]
        places = list(range(first, len(self.live)))
        for row, token in zip(rows, self._choice.next(logits, rows, places), strict=True):
            row.new.append(token)
        for place in reversed(places):
            row = self.live[place]
            reason = self._ended(row) or ("length" if len(row.new) >= row.limit else "")
            if not reason and time.monotonic() - row.started >= row.seconds_allowed:
                reason = "time_limit"
            if reason:
                self._leave(place)
                self._end(row, reason)

    def _leave(self, place: int) -> None:
        """Free a row's pages; the last row takes its place."""
        row, last = self.live[place], len(self.live) - 1
        self._free.extend(row.pages)
        row.pages = []
        self.live[place] = self.live[last]
        self.live.pop()
        self._choice.move(last, place)
        if place != last:
            self._step.place(place, self.live[place])
        self._step.place(last, None)

    def _end(self, row: DecodingRow, reason: str) -> None:
        row.finish = reason
        row.seconds = time.monotonic() - row.started if row.started is not None else 0.0
        self._done(row)

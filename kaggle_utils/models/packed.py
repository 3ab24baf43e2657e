"""Score many rows in one forward pass, without a mask and without padding where the device can.

It promises, for one pack of token rows, the logits that each row would get alone, up to rounding, pooled at the row's
last token (known by its length, never searched by pad id). It does not choose packs, order rows or survive errors:
that is the engine's work (``kaggle_utils.inference.engine``).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.attention import PATHS, AttentionPath, choose_attention, register_attention
from kaggle_utils.models.block_mask import BLOCK
from kaggle_utils.models.compiling import COMPILED, PLAIN, choose_by_measuring, is_compiler_error
from kaggle_utils.models.last_layer import pool_in_last_layer, pool_size
from kaggle_utils.models.pack_layout import pack_layout
from kaggle_utils.models.pack_limits import check_family, check_pack, longest_row
from kaggle_utils.models.packed_deberta import pack_deberta, packable
from kaggle_utils.models.row_check import check_rows, rounding_limit
from kaggle_utils.models.shapes import model_shapes
from kaggle_utils.models.transfer import Launched, to_device

if TYPE_CHECKING:
    import torch

__all__ = ["PackedClassifier", "pack_sizes"]

_LENGTH_STEP = 64  # padded rows are rounded up to this, so that a compiled layer sees few shapes


def pack_sizes(max_tokens: int) -> tuple[int, ...]:
    """The few sizes that packs are filled up to, so that compiled layers see few shapes.

    >>> pack_sizes(8192)
    (1024, 2048, 4096, 8192)
    """
    return tuple(sorted({max(BLOCK, max_tokens // part // BLOCK * BLOCK) for part in (1, 2, 4, 8)}))


class PackedClassifier:
    """A sequence classifier that scores one pack of rows at a time.

    Attributes:
        path: how it attends at the moment, and why.
        padded: rows are padded to the longest of their pack, so packs should be counted as rows x longest.
        max_tokens: largest pack; a single longer row still runs, as a pack of its own.
        compiled: its layers run compiled at the moment.
        notes: what it chose or found, in words, oldest first.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        path: AttentionPath | None = None,
        max_tokens: int = 8192,
        compile: bool | str = "auto",
    ) -> None:
        """Take over a model that lies on its devices.

        Args:
            model: a sequence classifier.
            path: how to attend; None for the fastest that the device and ``compile`` allow.
            max_tokens: largest pack.
            compile: True, False, or "auto": not compiled until :meth:`tune` finds that it pays. Compiled layers round
                differently (a last digit), so name it where two runs must be equal to the byte; the engine remembers
                what "auto" chose in its store.

        Raises:
            ValueError: a family that is built otherwise; the message names those that serve.
        """
        torch = require("torch", extra="llm")
        if compile not in (True, False, "auto"):
            raise ValueError(f"compile is {compile!r}, expected True, False or 'auto'")
        register_attention()
        self.model = model.eval()
        self.device = next(model.parameters()).device
        capability = torch.cuda.get_device_capability(self.device) if self.device.type == "cuda" else None
        choose = functools.partial(
            choose_attention, model.config, capability=capability, half=model.dtype in (torch.float16, torch.bfloat16)
        )
        best = path or choose()
        # Flex attention is a kernel only when compiled; otherwise torch fills the whole square of scores.
        allow = PATHS if best.name != "flex" or path else tuple(p for p in PATHS if p != "flex")
        plain = path or choose(allow=allow)
        self._paths = {COMPILED: best, PLAIN: plain}
        self.max_tokens = max_tokens
        self.padded = not best.packed
        self.notes: list[str] = []
        self._window = getattr(model.config, "sliding_window", None)
        self._masked = best.name == "masked"
        check_family(model, masked=self._masked)
        self._longest = longest_row(model)
        self._unpads = self._masked and packable(model)
        self._pools = best.packed and pool_in_last_layer(model)
        self._choice = None if compile == "auto" else COMPILED if compile else PLAIN
        self._checked = False
        self.use(self._choice or PLAIN)

    @property
    def layers(self) -> Sequence[torch.nn.Module]:
        """What is compiled, one by one."""
        return self.model.base_model.encoder.layer if self._masked else self.model.model.layers

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of one token in the layers' matrices: two a weight."""
        try:
            return 2.0 * model_shapes(self.model.config.to_dict()).linear_parameters
        except ValueError:  # a family whose sizes are not known: count what is there
            linear = [m for layer in self.layers for m in layer.modules() if hasattr(m, "in_features")]
            return 2.0 * sum(m.in_features * m.out_features for m in linear)

    def use(self, choice: str) -> None:
        """Run the layers "compiled" (the first pack of each size then takes seconds longer) or "plain"."""
        self.compiled, self.path = choice == COMPILED, self._paths[choice]
        if not self._masked:
            self.model.config._attn_implementation = self.path.implementation
            self.model.model.config._attn_implementation = self.path.implementation
        for layer in self.layers:
            layer._compiled_call_impl = None
        if self._unpads:
            pack_deberta(self.model, compile=self.compiled)
        elif self.compiled:
            try:
                self._compile()
            except Exception as error:  # such as a Python that is too new for this torch
                self._note_failure(error)
                self.use(PLAIN)

    def tune(
        self, rows: Sequence[np.ndarray], *, remaining_tokens: int, seconds_left: float = math.inf, on_cpu: bool = False
    ) -> str:
        """Choose between compiled and plain layers and say which; with ``compile="auto"`` by measuring, once.

        Args:
            rows: one real, full pack; it is scored two to four times.
            remaining_tokens: how much work is left for this scorer.
            seconds_left: until the deadline, if there is one.
            on_cpu: measure on a CPU too, where the answer is otherwise "plain".
        """
        if self._choice is None:
            if self.device.type == "cpu" and not on_cpu:
                self._choice = PLAIN  # nothing is compiled there unless asked
            else:
                self.adopt(self._measure(rows, remaining_tokens, seconds_left))
        return self._choice or PLAIN

    def adopt(self, choice: str) -> None:
        """Follow a choice that :meth:`tune` made elsewhere or before; anything unknown means plain."""
        self._choice = COMPILED if choice == COMPILED else PLAIN
        if self.compiled != (self._choice == COMPILED):
            self.use(self._choice)

    def self_check(self, rows: Sequence[np.ndarray]) -> None:
        """Compare a few short rows scored together with each alone, the first time; a doubt becomes a note.

        Raises:
            RowCheckError: they differ by more than rounding explains.
        """
        if not self._checked and (note := check_rows(self, rows)):
            self.notes.append(note)
        self._checked = True

    def score(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of one pack: integer arrays [length of row] -> float32 [rows, labels]."""
        return self.collect(self.launch(rows))

    def launch(self, rows: Sequence[np.ndarray]) -> Launched:
        """Start one pack; returns what :meth:`collect` takes, perhaps still being computed.

        Launch the next pack before collecting this one, and the device never waits for the host. A model on several
        devices keeps all of them busy with one pack more than there are devices.
        """
        check_pack(rows, vocabulary=self.model.config.vocab_size, longest=self._longest)
        try:
            return self._launch(rows)
        except Exception as error:
            if not self.compiled or not is_compiler_error(error):
                raise
            self._note_failure(error)
        self.use(PLAIN)
        return self._launch(rows)

    @staticmethod
    def collect(launched: Launched) -> np.ndarray:
        """Wait for a launched pack, not for those launched after it: its logits, float32 [rows, labels]."""
        return launched.wait()

    def _compile(self) -> None:
        dynamo = require("torch._dynamo", extra="llm")
        dynamo.config.recompile_limit = max(64, dynamo.config.recompile_limit)
        for layer in self.layers:
            layer.compile(dynamic=self.padded)

    def _measure(self, rows: Sequence[np.ndarray], remaining_tokens: int, seconds_left: float) -> str:
        try:
            choice, reason = choose_by_measuring(
                self, rows, remaining_tokens=remaining_tokens, seconds_left=seconds_left,
                tolerance=lambda logits: rounding_limit(self.model, logits),
            )  # fmt: skip
        except Exception as error:  # no memory for a full pack, say: the run itself deals with that
            self._note_failure(error)
            return PLAIN
        self.notes.append(f"layers {'stay ' if choice == PLAIN else ''}{choice}: {reason}")
        return choice

    def _note_failure(self, error: BaseException) -> None:
        what = " ".join(str(error).strip().splitlines()[:2])[:200]  # the rest is advice for the compiler's developers
        self.notes.append(f"layers stay plain, compiling them failed: {type(error).__name__}: {what}")

    def _launch(self, rows: Sequence[np.ndarray]) -> Launched:
        with require("torch", extra="llm").inference_mode():  # thread-local: a worker thread starts with gradients on
            return Launched((self._launch_packed if self.path.packed else self._launch_padded)(rows))

    def _launch_packed(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        lengths = np.array([len(row) for row in rows])
        used = int(lengths.sum())
        total = next((size for size in pack_sizes(self.max_tokens) if size >= used), -(-used // 1024) * 1024)
        ids, positions = np.zeros(total, np.int64), np.zeros(total, np.int64)
        ids[:used] = np.concatenate(rows)
        positions[:used] = np.concatenate([np.arange(n) for n in lengths])
        last = np.cumsum(lengths) - 1
        layout = pack_layout(
            self.path.name, lengths, total, device=self.device, max_tokens=self.max_tokens, window=self._window
        )
        if self._pools:
            layout["pool_at"] = self._tensor(np.pad(last, (0, pool_size(len(rows)) - len(rows))))
        hidden = self._hidden(ids[None], position_ids=self._tensor(positions[None]), **layout)[0]
        if not self._pools:
            hidden = hidden.index_select(0, self._tensor(last, hidden.device))
        return self.model.score(hidden[: len(rows)]).float()

    def _launch_padded(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        torch = require("torch", extra="llm")
        lengths = np.array([len(row) for row in rows])
        longest = int(lengths.max())
        if self.device.type == "cuda":
            longest = min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, self._longest or sys.maxsize)
        ids = np.full((len(rows), longest), self.model.config.pad_token_id or 0, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        if self._masked:
            mask = (np.arange(longest)[None] < lengths[:, None]).astype(np.int64)
            told = {"lengths": lengths.tolist()} if getattr(self.model, "takes_lengths", False) else {}
            return self.model(input_ids=self._tensor(ids), attention_mask=self._tensor(mask), **told).logits.float()
        hidden = self._hidden(ids)
        place = hidden.device  # of the last stage, where the model lies on several devices
        pooled = hidden[torch.arange(len(rows), device=place), self._tensor(lengths - 1, place)]
        return self.model.score(pooled).float()

    def _hidden(self, ids: np.ndarray, **layout: Any) -> torch.Tensor:
        # No cache and no mask: with either, transformers would let packed rows see each other (it reads row borders
        # from position_ids only when both are absent).
        return self.model.model(
            input_ids=self._tensor(ids), attention_mask=None, use_cache=False, **layout
        ).last_hidden_state

    def _tensor(self, array: np.ndarray, device: torch.device | None = None) -> torch.Tensor:
        return to_device(array.astype(np.int64, copy=False), device or self.device)

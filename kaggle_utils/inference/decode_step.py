"""One forward of a model over a paged cache: prompts at once, or one more token for each row.

It promises logits, rows in the order given. On a GPU the step for new tokens is recorded once for each of a few batch
sizes and replayed (a CUDA graph): 42 layers launch some 2,500 small kernels, which takes Python longer than the GPU.
Where recording fails the same step runs as it is. It does not know which rows there are or when they end.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.inference.decoding_row import DecodingRow
from kaggle_utils.inference.failures import is_out_of_memory
from kaggle_utils.models.paged_attention import (
    IMPLEMENTATION,
    PAGE,
    PagedCache,
    Prompts,
    Tokens,
    kernel_works,
    register_paged_attention,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["DecodeStep", "batch_sizes", "paged_attention"]

_logger = logging.getLogger(__name__)


def batch_sizes(slots: int) -> list[int]:
    """The sizes that batches are filled up to, so that few steps are recorded.

    >>> batch_sizes(40)
    [1, 2, 4, 8, 16, 24, 32, 40]
    """
    sizes = {1, 2, 4, *range(8, 33, 8), *range(48, slots, 16), slots}
    return sorted(size for size in sizes if size <= slots)


@contextlib.contextmanager
def paged_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let ``model`` attend over the paged cache inside the block, and as before after it."""
    register_paged_attention()
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: getattr(config, "_attn_implementation", None) for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = IMPLEMENTATION
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


class DecodeStep:
    """A model with its cache and the tensors that a step reads; use it inside :func:`paged_attention`."""

    def __init__(self, model: PreTrainedModel, *, slots: int, pages: int, width: int, graphs: bool = True) -> None:
        """Make room for ``slots`` rows of at most ``width`` pages; the first prefill allocates the pages."""
        torch = require("torch", extra="llm")
        self.model, self.slots, self.pages, self.width = model, slots, pages, width
        self.cache = PagedCache(pages)
        self.device = model.get_input_embeddings().weight.device
        devices = {p.device for p in model.parameters()}
        self.kernel = all(self._kernel_on(device) for device in devices)
        self.graphs = graphs and self.kernel and len(devices) == 1
        pinned = self.device.type == "cuda"
        self._host_ids = torch.zeros(slots, 1, dtype=torch.long, pin_memory=pinned)
        self._host_lengths = torch.ones(slots, dtype=torch.int32, pin_memory=pinned)
        self._host_table = torch.zeros(slots, width, dtype=torch.int32, pin_memory=pinned)
        self._ids, self._lengths, self._table = (
            tensor.to(self.device, copy=True) for tensor in (self._host_ids, self._host_lengths, self._host_table)
        )
        self._table_is_new = False
        self._recorded: dict[int, Any] = {}
        self._logits: torch.Tensor | None = None
        self._pool: Any = None

    def place(self, place: int, row: DecodingRow | None) -> None:
        """Say which row's pages are read at a place of the batch; None for nobody's."""
        line = self._host_table[place]
        line.zero_()
        if row is not None:
            line[: len(row.pages)] = require("torch", extra="llm").tensor(row.pages, dtype=line.dtype)
        self._table_is_new = True

    def prefill(self, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Read the rows' prompts (and what was generated already) in one go; returns logits [rows, vocabulary]."""
        torch = require("torch", extra="llm")
        lengths = np.array([row.length for row in rows])
        ids = np.concatenate([np.asarray([*row.prompt, *row.new], np.int64) for row in rows])
        positions = np.concatenate([np.arange(n) for n in lengths])
        pages = np.concatenate([np.asarray(row.pages)[np.arange(row.length) // PAGE] for row in rows])
        ends = torch.from_numpy(np.cumsum(lengths))
        ids, positions, pages = (torch.from_numpy(a.astype(np.int64)).to(self.device) for a in (ids, positions, pages))
        layout = Prompts(self.cache, pages=pages, places=positions % PAGE, ends=ends)
        logits = self._forward(ids[None], positions[None], layout, keep=(ends - 1).to(self.device))[0]
        if self.cache.layers != self.model.config.get_text_config().num_hidden_layers:
            raise ValueError(
                f"{type(self.model).__name__} sent keys of {self.cache.layers} of its layers through transformers' "
                "attention interface; use HFGenerator for it"
            )
        return logits

    def decode(self, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Read each row's newest token, row i at place i; returns logits [rows, vocabulary], until the next step."""
        count = len(rows)
        size = next(size for size in batch_sizes(self.slots) if size >= count)
        self._host_ids[:count, 0] = require("torch", extra="llm").tensor([row.new[-1] for row in rows])
        self._host_lengths[:count] = require("torch", extra="llm").tensor([row.length for row in rows]).int()
        # Places without a row write to page 0 and read one token of it.
        self._host_ids[count:size] = 0
        self._host_lengths[count:size] = 1
        self._ids.copy_(self._host_ids, non_blocking=True)
        self._lengths.copy_(self._host_lengths, non_blocking=True)
        if self._table_is_new:
            self._table.copy_(self._host_table, non_blocking=True)
            self._table_is_new = False
        width = -(-max(row.length for row in rows) // PAGE)
        if not self.graphs:
            return self._tokens(count, width)
        if size not in self._recorded and not self._record(size, width):
            return self._tokens(count, width)
        self._recorded[size].replay()
        return self._logits[:count]  # type: ignore[index]

    def _tokens(self, size: int, width: int) -> torch.Tensor:
        lengths = self._lengths[:size]
        layout = Tokens(self.cache, table=self._table[:size], lengths=lengths, width=width, kernel=self.kernel)
        return self._forward(self._ids[:size], (lengths - 1).long()[:, None], layout, keep=1)[:, -1]

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, layout: Any, *, keep: Any) -> torch.Tensor:
        # No cache object and no mask: keys and values go through the attention function alone.
        return self.model(
            input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep, paged=layout
        ).logits

    def _record(self, size: int, width: int) -> bool:
        """Run the step once outside and record it; False where that fails, and nothing is recorded from then on."""
        torch = require("torch", extra="llm")
        try:
            beside = torch.cuda.Stream(self.device)
            beside.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(beside):  # compiles kernels, and writes what the replay will write again
                logits = self._tokens(size, width)
            torch.cuda.current_stream(self.device).wait_stream(beside)
            if self._logits is None:
                self._logits = logits.new_zeros(self.slots, logits.shape[-1])
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._logits[:size].copy_(self._tokens(size, width))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            _logger.warning("steps are not recorded as CUDA graphs: %s: %s", type(error).__name__, error)
            self.graphs = False
            self._recorded.clear()
            return False
        self._pool = self._pool or graph.pool()
        self._recorded[size] = graph
        return True

    def _kernel_on(self, device: Any) -> bool:
        config = self.model.config.get_text_config()
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        return kernel_works(device, self.model.dtype, heads, keys, size)

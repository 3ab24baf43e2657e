"""What stands beside the model in a run over a cluster: tokenising and parquet, and rows to measure them with.

Rates are of one core. Rows of pairs are words of a small list, as long as asked; the tokenizer is a byte-level BPE that
is trained on them, so its tokens are as long as those of a real one on English.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kaggle_utils.data.pairs import Pair, read_pairs
from kaggle_utils.data.tokenization import PairTokenizer, TokenRows

__all__ = [
    "ByteReader",
    "ProductScorer",
    "SumScorer",
    "pair_reader",
    "parquet_rates",
    "tokenize_rates",
    "write_judge",
    "write_pairs",
    "write_tokens",
]

_SYLLABLES = ("ba", "co", "de", "fi", "gu", "ha", "ki", "lo", "ma", "ne", "po", "ra", "si", "tu", "ve", "wo")


class SumScorer:
    """The cheapest scorer that reads every token: what is left of a run with it is what a run costs besides."""

    padded, max_tokens = False, 200_000

    def __init__(self, *, device: str) -> None:
        pass

    def score(self, rows: list[np.ndarray]) -> np.ndarray:
        """Three sums a row."""
        ends = np.cumsum([len(row) for row in rows])
        total = np.cumsum(np.concatenate(rows), dtype=np.float64)[ends - 1]
        own = np.diff(total, prepend=0.0)
        return np.stack([own, np.sin(own), np.cos(own)], axis=1).astype(np.float32)


class ProductScorer:
    """Matrix products in numpy, as many a token as a small transformer has; for quick runs, since it starts at once."""

    padded, max_tokens = False, 4096

    def __init__(self, *, device: str, layers: int = 12, width: int = 256) -> None:
        rng = np.random.default_rng(0)
        self._table = rng.normal(size=(256, width)).astype(np.float32)
        self._layers = [(rng.normal(size=(width, width)) / width**0.5).astype(np.float32) for _ in range(layers)]

    def score(self, rows: list[np.ndarray]) -> np.ndarray:
        """Three numbers a row, of all its tokens."""
        out = np.empty((len(rows), 3), np.float32)
        for i, row in enumerate(rows):  # row by row, so that a row's values do not depend on its pack
            hidden = self._table[row]
            for layer in self._layers:
                hidden = np.maximum(hidden @ layer, 0) + hidden
                hidden /= np.abs(hidden).mean()
            out[i] = hidden.mean(axis=0)[:3]
        return out


class ByteReader:
    """Bytes as tokens: a reader of pairs that needs no transformers."""

    def encode(self, pairs: list[Pair], *, swapped: bool = False) -> TokenRows:
        """Prompt, A and B."""
        chosen = [pair.swapped() if swapped else pair for pair in pairs]
        texts = ["\n".join((*pair.prompt, *pair.response_a, *pair.response_b)) for pair in chosen]
        return TokenRows.of([np.frombuffer(text.encode(), np.uint8) for text in texts])


def words(count: int, seed: int = 0) -> list[str]:
    """Made-up words of one to four syllables, the same every time."""
    rng = random.Random(seed)
    return ["".join(rng.choices(_SYLLABLES, k=rng.choice((1, 2, 2, 3, 4)))) for _ in range(count)]


def write_judge(folder: Path, *, hidden: int, layers: int) -> Path:
    """A random Llama classifier and its tokenizer, 4,096 tokens, as a folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([" ".join(words(20_000))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, num_labels=3, pad_token_id=0,
        max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


def write_pairs(path: Path, rows: int, *, words_a_row: int, row_group: int) -> Path:
    """Pairs with JSON turns as LMSYS has them; lengths differ by a factor of three."""
    import pyarrow
    from pyarrow import parquet

    rng, known = random.Random(1), words(3000)

    def text(share: float) -> str:
        return '["' + " ".join(rng.choices(known, k=max(1, int(share * words_a_row * rng.uniform(0.5, 1.5))))) + '"]'

    cells = {"id": list(range(rows)), "prompt": [text(0.2) for _ in range(rows)]}
    cells |= {name: [text(0.4) for _ in range(rows)] for name in ("response_a", "response_b")}
    parquet.write_table(pyarrow.table(cells), path, row_group_size=row_group)
    return path


def write_tokens(path: Path, rows: int, *, tokens: int) -> Path:
    """Rows of token ids for a scorer that needs no tokenizer."""
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    lengths = rng.integers(tokens // 2, tokens * 3 // 2, rows)
    ids = np.split(rng.integers(2, 30_000, int(lengths.sum())).astype(np.int32), np.cumsum(lengths)[:-1])
    column = pyarrow.ListArray.from_arrays(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), np.concatenate(ids)
    )
    table = pyarrow.table({"id": np.arange(rows), "input_ids": column})
    parquet.write_table(table, path, row_group_size=20_000)
    return path


def pair_reader(folder: Path, *, max_length: int) -> PairTokenizer:
    """The tokenizer as judges use it."""
    from transformers import AutoTokenizer

    return PairTokenizer(AutoTokenizer.from_pretrained(folder), style="llama", max_length=max_length)


def best(function: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def tokenize_rates(folder: Path, cells: dict[str, list], *, rounds: int) -> dict[str, float]:
    """Rows and tokens a second of one core, from parsed pairs to token rows; TOKENIZERS_PARALLELISM=false is set."""
    reader = pair_reader(folder, max_length=4096)
    table = read_pairs(cells)
    encoded = reader.encode(table.pairs, progress=False)
    seconds = best(lambda: reader.encode(table.pairs, progress=False), rounds)
    parse = best(lambda: read_pairs(cells), rounds)
    rows, tokens = len(table), int(encoded.lengths.sum())
    return {
        "tokens_per_row": tokens / rows,
        "tokenize_rows_per_s_core": rows / seconds,
        "tokenize_tokens_per_s_core": tokens / seconds,
        "parse_rows_per_s_core": rows / parse,
    }


def parquet_rates(path: Path, folder: Path, *, rounds: int) -> dict[str, float]:
    """Megabytes of columns and rows a second of one core, read as blocks are and written as parts are; the disk's cache
    is warm."""
    from kaggle_utils.inference.cluster.blocks import BlockReader, cut_blocks, list_inputs
    from kaggle_utils.inference.cluster.parts import write_part
    from kaggle_utils.inference.cluster.storage import Folder

    source, columns = Folder(path.parent), ["id", "prompt", "response_a", "response_b"]
    files = list_inputs(source, path.name, columns=columns)
    blocks = cut_blocks(files, 2000)
    tables = [BlockReader(source, columns).read(block) for block in blocks]

    def read() -> None:
        reader = BlockReader(source, columns)
        for block in blocks:
            reader.read(block)

    parts = [_part(block.rows) for block in blocks]
    target = Folder(folder / "parts")

    def write() -> None:
        for block, part in zip(blocks, parts, strict=True):
            write_part(target, block, part, run="x", problems=0)

    rows, size = files[0].rows, sum(table.nbytes for table in tables) / 1e6
    reading, writing = best(read, rounds), best(write, rounds)
    return {
        "bytes_per_row": size * 1e6 / rows,
        "file_bytes_per_row": files[0].bytes / rows,
        "parquet_read_mb_per_s": size / reading,
        "parquet_read_rows_per_s": rows / reading,
        "parquet_write_mb_per_s": sum(part.nbytes for part in parts) / 1e6 / writing,
        "parquet_write_rows_per_s": rows / writing,
    }


def _part(rows: int) -> object:
    """What a judge's part holds."""
    import pyarrow

    from kaggle_utils.inference.cluster.tasks import list_column

    values = np.random.default_rng(0).dirichlet([1, 1, 1], rows)
    columns = {"row": np.arange(rows), "id": np.arange(rows), "probabilities": list_column(values)}
    return pyarrow.table({**columns, "problem": pyarrow.nulls(rows, pyarrow.string())})

"""Fine-tune a small encoder as a judge of pairs, in a plain loop, and save it as an ordinary Hugging Face folder.

It promises a folder that ``transformers`` loads by itself, tokenizer included, and training in both orders of A and B.
It does not choose rows and does not score them: the engine does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tqdm.auto import tqdm

from kaggle_utils.data.pairs import Pair
from kaggle_utils.data.prompt_style import PromptStyle
from kaggle_utils.data.tokenization import PairTokenizer, TokenRows

STYLE = PromptStyle("encoder", "", "[SEP]", "[SEP]")
_WORD = re.compile(r"\w+")
_FIRST_UNUSED = 1  # BERT's vocabulary has [unused0] to [unused98] at 1 to 99
_STEPS = 15
MEASURES = ("longer", "more of the prompt", "more lines", "words of A", "words of B", "likeness")
"""What the tokens behind CLS say, in this order; the first three compare A with B."""


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights, besides the rows."""

    max_length: int = 384
    epochs: int = 4
    """Passes over the rows; every second one reads B first."""
    learning_rate: float = 1e-4
    batch_size: int = 32
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    layer_decay: float = 0.95
    """Each layer below another learns at this share of its rate."""
    dropout: float = 0.1
    frozen_layers: int = 0
    """The embeddings and this many of the lowest layers stay as they are; 0 trains everything."""
    seed: int = 0


class MeasuringTokenizer:
    """A ``PairTokenizer`` whose rows begin with tokens for what truncation hides and a small model cannot count.

    Tokens of the vocabulary that no text has ("[unused]") stand behind CLS, one for each of ``MEASURES``, in steps.
    """

    def __init__(self, tokenizer: Any, *, max_length: int) -> None:
        room = max_length - len(MEASURES)
        self._pairs = PairTokenizer(tokenizer, style=STYLE, max_length=room, truncation="middle", marker="…")

    def settings(self) -> dict[str, Any]:
        """For the fingerprint."""
        return {**self._pairs.settings(), "measures": list(MEASURES), "steps": _STEPS}

    def encode(self, pairs: Sequence[Pair], *, swapped: bool = False, progress: bool = False) -> TokenRows:
        """Rows of ``pairs`` in order; with ``swapped`` the answers change places."""
        rows = self._pairs.encode(pairs, swapped=swapped, progress=progress).ids
        measured = [_measure_tokens(pair.swapped() if swapped else pair) for pair in pairs]
        return TokenRows.of(np.concatenate([row[:1], ids, row[1:]]) for row, ids in zip(rows, measured, strict=True))


def _measure_tokens(pair: Pair) -> np.ndarray:
    a, b = ("\n".join(turns) for turns in (pair.response_a, pair.response_b))
    words_a, words_b, asked = (_WORD.findall(text.lower()) for text in (a, b, " ".join(pair.prompt)))
    set_a, set_b, known = set(words_a), set(words_b), set(asked)
    octaves = lambda x, y: math.log2((x + 1) / (y + 1))  # noqa: E731
    middle = _STEPS // 2
    values = (
        middle + 2 * octaves(len(words_a), len(words_b)),
        middle + 4 * octaves(len(known & set_a), len(known & set_b)),
        middle + 2 * octaves(a.count("\n"), b.count("\n")),
        1.5 * octaves(len(words_a), 0),
        1.5 * octaves(len(words_b), 0),
        (_STEPS - 1) * len(set_a & set_b) / max(1, len(set_a | set_b)),
    )
    steps = [max(0, min(_STEPS - 1, round(value))) for value in values]
    return np.array([_FIRST_UNUSED + i * _STEPS + step for i, step in enumerate(steps)], dtype=np.int32)


def train_judge(
    model_folder: Path, folder: Path, pairs: Sequence[Pair], labels: np.ndarray, *, device: str,
    settings: TrainingSettings = TrainingSettings(), name: str = "train",
) -> Path:  # fmt: skip
    """Train on labelled pairs and save model and tokenizer in ``folder``; returns it."""
    transformers.set_seed(settings.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    reader = MeasuringTokenizer(tokenizer, max_length=settings.max_length)
    orders = [
        (reader.encode(pairs).ids, np.asarray(labels)),
        (reader.encode(pairs, swapped=True).ids, np.array([1, 0, 2])[labels]),
    ]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        model_folder, num_labels=3, hidden_dropout_prob=settings.dropout, dtype=torch.float32
    ).to(device)
    order_measures(model.get_input_embeddings().weight)
    _freeze(model, settings.frozen_layers)
    total = settings.epochs * math.ceil(len(pairs) / settings.batch_size)
    optimizer = torch.optim.AdamW(_groups(model, settings), fused=device != "cpu")
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, int(settings.warmup_ratio * total), total)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    model.train()
    bar = tqdm(_batches(orders, settings), total=total, desc=name, unit="step", delay=2)
    for ids, wanted in bar:
        batch = _padded(ids, device)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            logits = model(**batch).logits
        loss = loss_of(logits.float(), torch.from_numpy(wanted).to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval().cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _batches(orders: Sequence[tuple[list[np.ndarray], np.ndarray]], settings: TrainingSettings) -> Iterator[Any]:
    """Every row once an epoch, half of them swapped, the other half in the next; neighbours in length together."""
    generator = np.random.default_rng(settings.seed)
    count, size = len(orders[0][1]), settings.batch_size
    swapped = generator.random(count) < 0.5
    lengths = np.array([len(row) for row in orders[0][0]])
    for _ in range(settings.epochs):
        swapped = ~swapped
        order = generator.permutation(count)
        window = size * 8  # sorted within windows only, so that batches differ from epoch to epoch
        chunks = [order[i : i + window] for i in range(0, count, window)]
        order = np.concatenate([chunk[np.argsort(lengths[chunk], kind="stable")] for chunk in chunks])
        starts = np.arange(0, count, size)
        for start in generator.permutation(starts):
            rows = order[start : start + size]
            which = swapped[rows].astype(int)
            yield (
                [orders[w][0][r] for w, r in zip(which, rows, strict=True)],
                np.array([orders[w][1][r] for w, r in zip(which, rows, strict=True)]),
            )


def _padded(rows: Sequence[np.ndarray], device: str) -> dict[str, torch.Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row).long() for row in rows], batch_first=True)
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


@torch.no_grad()
def order_measures(embeddings: torch.Tensor) -> None:
    """Put the steps of each measure on half a circle, as long as words are: neighbours alike, ends opposite."""
    length, middle = embeddings.norm(dim=1).median(), embeddings.mean(dim=0)
    position = torch.linspace(-1.0, 1.0, _STEPS, device=embeddings.device)[:, None]
    for number in range(len(MEASURES)):
        ends, top = torch.nn.functional.normalize(torch.randn(2, 1, len(middle), device=embeddings.device), dim=-1)
        first = _FIRST_UNUSED + number * _STEPS
        embeddings[first : first + _STEPS] = middle + length * (position * ends + (1 - position**2).sqrt() * top)


def _freeze(model: torch.nn.Module, layers: int) -> None:
    for part in [model.base_model.embeddings, *model.base_model.encoder.layer[:layers]] if layers else []:
        part.requires_grad_(False)


def _groups(model: torch.nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Parameters by depth, the head fastest; biases and norms without decay."""
    layers = model.config.num_hidden_layers
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found = re.search(r"\.layer\.(\d+)\.", name)
        below = layers - int(found[1]) if found else layers + 1 if "embeddings" in name else 0
        decays = parameter.ndim > 1
        rate = settings.learning_rate * settings.layer_decay**below
        group = groups.setdefault((below, decays), {"params": [], "lr": rate})
        group["weight_decay"] = settings.weight_decay if decays else 0.0
        group["params"].append(parameter)
    return list(groups.values())

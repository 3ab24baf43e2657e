"""A small k-fold run with everything on, the same in every process, and hooks that kill it where a test wants that."""

from __future__ import annotations

import os
import signal
import string
import time
from pathlib import Path

import numpy as np

from kaggle_utils.data.pairs import Pair
from kaggle_utils.data.tokenization import PairTokenizer, TokenRows
from kaggle_utils.training.fold_predict import predict_logits
from kaggle_utils.training.kfold import run_kfold
from kaggle_utils.training.kfold_settings import KFoldSettings

_WORDS = "red green blue one two three cat dog bird sings runs sleeps never always here there"
ROWS, TESTS, FOLDS = 60, 9, 5
KILLED_FOLD, KILLED_STEP = 2, 11
_STYLE = {"prompt": "", "response_a": "[SEP]", "response_b": "[SEP]"}
_calls = 0


def case_settings(**changes) -> KFoldSettings:
    """12 steps in two epochs of 6, checkpoints after 4, 8 and 12: in the middle of both epochs."""
    return KFoldSettings(**{
        "num_train_epochs": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "eval_steps": 4,
        "learning_rate": 2e-3, "layerwise_lr_decay": 0.9, "label_smoothing_factor": 0.1, "swap_augmentation": True,
        "eval_max_rows": 8, "early_stopping_patience": 3, "logging_steps": 1, **changes,
    })  # fmt: skip


def write_case_model(folder: Path) -> Path:
    """A random DeBERTa-v2 with dropout, and a WordPiece tokenizer of the words: a trained one breaks ties by chance."""
    import torch
    from tiny_classifiers import tiny_classifier
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(1)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = string.ascii_lowercase + string.digits
    known = [*special, *letters, *(f"##{letter}" for letter in letters), *_WORDS.split()]
    core = Tokenizer(models.WordPiece({text: number for number, text in enumerate(known)}, unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    tiny_classifier("deberta-v2", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).save_pretrained(folder)
    return folder


def case_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs of random sentences of very different lengths."""
    generator = np.random.default_rng(seed)
    text = lambda: (" ".join(generator.choice(_WORDS.split(), generator.integers(1, 20))),)  # noqa: E731
    return [Pair(f"row {i}", text(), text(), text()) for i in range(count)]


def case_rows(model: Path) -> dict:
    """All rows as ``run_kfold`` takes them; A wins where it is the longer one."""
    from transformers import AutoTokenizer

    reader = PairTokenizer(AutoTokenizer.from_pretrained(model), style=_STYLE, max_length=48, truncation="middle")
    pairs = case_pairs(ROWS, seed=0)
    lengths = np.array([[len(pair.response_a[0]), len(pair.response_b[0])] for pair in pairs])
    labels = np.where(abs(lengths[:, 0] - lengths[:, 1]) < 12, 2, (lengths[:, 1] > lengths[:, 0]).astype(int))
    return {
        "rows": reader.encode(pairs),
        "swapped_rows": reader.encode(pairs, swapped=True),
        "labels": labels,
        "assigned": np.random.default_rng(1).permutation(ROWS) % FOLDS,
        "ids": [pair.id for pair in pairs],
        "test_rows": reader.encode(case_pairs(TESTS, seed=2)),
        "about": reader.settings(),
    }


def run_case(model: Path, folder: Path, *, settings: KFoldSettings | None = None, **changes):
    """Run it, or what is left of it."""
    import torch

    torch.set_num_threads(1)
    given = {"devices": ["cpu"], "prepare_model": prepare, "progress": False, **case_rows(model), **changes}
    return run_kfold(model, folder=folder, settings=settings or case_settings(), **given)


def run_and_die(model: Path, folder: Path) -> None:
    """Run it in a process that is new, until step 11 of the third fold kills that."""
    global _calls
    _calls, os.environ["KFOLD_KILL"] = 0, "1"
    run_case(model, folder)


def prepare(model):
    """Changes nothing; with KFOLD_KILL set, the third model that is trained kills its process in step 11."""
    global _calls
    _calls += 1
    if os.environ.get("KFOLD_KILL") and _calls == KILLED_FOLD * 3 + 1:  # each fold also prepares two to predict with
        passes = iter(range(2 * KILLED_STEP - 1))

        def count(module, given) -> None:
            if module.training and next(passes, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        model.register_forward_pre_hook(count)
    return model


def prepare_or_hang(model):
    """Changes nothing; on the Ray node that the file KFOLD_VICTIM names, a fold hangs after its first checkpoint."""
    victim = Path(os.environ.get("KFOLD_VICTIM", "/nowhere"))
    passes = iter(range(2 * KILLED_STEP - 1))

    def wait(module, given) -> None:
        if module.training and next(passes, None) is None and _node() == victim.read_text():
            victim.with_suffix(".hangs").touch()
            time.sleep(300)

    if victim.is_file():
        model.register_forward_pre_hook(wait)
    return model


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def predict_or_die(folder: Path, rows: TokenRows, device: str) -> np.ndarray:
    """Predicts; but the process dies where it is fold 1's, once."""
    mark = folder.parent / "died"
    if folder.parent.name == "fold-1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return predict_logits(folder, rows, device, progress=False)

"""A small random BERT with a tokenizer trained on the spot: as a plain folder, and as a ColBERT checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

TEXTS = (
    "伊勢神宮は何県にありますか？",
    "鉛筆は水に沈みますか？",
    "木曜日の5日後は何曜日でしょう？",
    "リンゴとバナナはどのように似ていますか？",
    "Is a pencil heavier than water?",
)


def write_tiny_tokenizer(folder: Path, *, corpus: Sequence[str] = TEXTS) -> Path:
    """A WordPiece tokenizer, each Chinese character apart, as Japanese BERTs of characters have it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator([*corpus, "".join(map(chr, range(33, 127)))], trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=special, show_progress=False))  # fmt: skip
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        mask_token="[MASK]", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def write_tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """A random two-layer BERT of width 32, 64 positions."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    write_tiny_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def write_tiny_colbert(folder: Path, *, seed: int = 0) -> Path:
    """The same BERT as Stanford's ColBERT saves it: linear.weight beside the encoder, and artifact.metadata."""
    import torch
    from safetensors.torch import load_file, save_file

    write_tiny_bert(folder, seed=seed)
    weights = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    weights["linear.weight"] = torch.randn(16, 32, generator=torch.Generator().manual_seed(seed))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    metadata = {"query_maxlen": 24, "doc_maxlen": 48, "mask_punctuation": True, "attend_to_mask_tokens": False}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder

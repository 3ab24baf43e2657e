"""Tokenizers of each kind, trained on the spot, with every family's control tokens: real code paths, no download."""

from __future__ import annotations

import functools

CONTROL = {
    "gemma2": ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"],
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "phi3": ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"],
    "chatml": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
}
ALL_CONTROL = sorted({text for texts in CONTROL.values() for text in texts})

_CORPUS = [
    'Does the keyword (in lowercase) precede "cat" in alphabetical order? yes no Is it a living thing?',
    "user\nassistant\nsystem\nmodel\n\n You are brief. end of turn start_of_turn end_of_turn eos bos im_start im_end",
] * 20


def byte_level(*, special: bool = True, unk: str | None = None):
    """A byte-level BPE tokenizer (as Llama 3, Qwen); ``special=False`` adds the control tokens as ordinary ones."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer.from_str(_trained_byte_level())
    add = core.add_special_tokens if special else core.add_tokens
    add([AddedToken(text, special=special, normalized=False) for text in ALL_CONTROL])
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"} if special else {}
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token=unk, **named)


@functools.cache
def _trained_byte_level() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        _CORPUS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    return core.to_str()


def sentencepiece_like():
    """Spaces as an underline, one in front of every text, control tokens that swallow white space: as Phi-3's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Metaspace()
    core.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>"]))
    core.add_special_tokens(
        [AddedToken(text, special=True, normalized=False, rstrip=text != "<|endoftext|>") for text in CONTROL["phi3"]]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def normalizing():
    """Control tokens found after normalization: full-width look-alikes become control for such a tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        _CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    core.add_tokens([AddedToken(text, normalized=True) for text in CONTROL["gemma2"]])
    return PreTrainedTokenizerFast(tokenizer_object=core)

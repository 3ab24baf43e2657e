"""Small random models with real tokenizers, made on the spot: real code paths without a download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CHATML_JINJA = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_CORPUS = [
    "Is it a living thing? yes no Yes No YES NO",
    'Does the keyword (in lowercase) precede "cat" in alphabetical order?',
    "The quick brown fox jumps over the lazy dog. A keyword is a thing, a place or a person.",
    "You are a helpful assistant. user system assistant\nHello, how are you today? 0123456789",
]


def write_tiny_tokenizer(folder: Path, *, vocab_size: int = 512, corpus: Sequence[str] = _CORPUS) -> Path:
    """A byte-level BPE tokenizer with the ChatML control tokens and template; no pad token, as Llama has none."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=control, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(list(corpus) * 8, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>"
    )
    wrapped.chat_template = CHATML_JINJA
    wrapped.save_pretrained(folder)
    return folder


def write_tiny_llama(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A random Llama: hidden 64 and MLP 128, so that NF4 works on CPUs whose kernels want multiples of 64."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    write_tiny_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder

"""Small random sequence classifiers of every family, as models and as folders, and adapters for them."""

from __future__ import annotations

from pathlib import Path

from tiny_models import write_tiny_tokenizer

# Multiples of 64, so that 4-bit layers work on every CPU; windows shorter than the rows of the tests.
_SIZES = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "pad_token_id": 0}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
_GEMMA = {"sliding_window": 8, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 4}
FAMILIES = {
    "gemma2": {**_SIZES, **_HEADS, **_GEMMA, "head_dim": 32},
    "gemma2-wide-heads": {**_SIZES, **_HEADS, **_GEMMA, "head_dim": 256},
    "llama": {**_SIZES, **_HEADS},
    "mistral": {**_SIZES, **_HEADS, "sliding_window": 8},
    "qwen2": {**_SIZES, **_HEADS},
    "qwen2-window": {**_SIZES, **_HEADS, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {**_SIZES, **_HEADS, "head_dim": 32},
    "bert": {**_SIZES, "num_attention_heads": 4},
    "deberta-v2": {
        **_SIZES, "num_attention_heads": 4, "relative_attention": True, "position_buckets": 16, "type_vocab_size": 0,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False, "max_relative_positions": -1,
    },
}  # fmt: skip
DECODERS = [name for name in FAMILIES if name not in ("bert", "deberta-v2")]
ENCODERS = ["bert", "deberta-v2"]
_CLASSES = {
    "gemma2": "Gemma2", "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "bert": "Bert",
    "deberta-v2": "DebertaV2",
}  # fmt: skip


def tiny_classifier(family: str, *, num_labels: int = 3, seed: int = 0, **changes):
    """A random classifier whose weights are large enough that rows differ and the soft-cap bends."""
    import torch
    import transformers

    kind = _CLASSES.get(family) or _CLASSES[family.split("-")[0]]
    config = getattr(transformers, f"{kind}Config")(**{**FAMILIES[family], "num_labels": num_labels, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:  # steeper attention: near-uniform weights would hide a forgotten window
                parameter.mul_(16 if "q_proj" in name or "query" in name else 4)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_tiny_classifier(folder: Path, family: str = "llama", **changes) -> Path:
    """The same as a folder with a tokenizer that has no pad token."""
    write_tiny_tokenizer(folder)
    tiny_classifier(family, **changes).save_pretrained(folder)
    return folder


def adapted(model, *, seed: int = 1, **settings):
    """``model`` wrapped by peft, with a random update that matters and a random head."""
    import peft
    import torch

    options = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], "task_type": "SEQ_CLS"}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**{**options, **settings}))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return wrapped.eval()

"""The notebook's two judges at their real shapes with random weights, its scoring loop, and what else is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
import transformers

SHAPES = {
    "gemma": {
        "config": transformers.Gemma2Config, "model": transformers.Gemma2ForSequenceClassification,
        "lora": ["q_proj", "k_proj", "v_proj"],
        "full": {"vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
                 "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "query_pre_attn_scalar": 256},
    },
    "llama": {
        "config": transformers.LlamaConfig, "model": transformers.LlamaForSequenceClassification,
        "lora": ["o_proj", "v_proj"],
        "full": {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                 "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 500000.0},
    },
}  # fmt: skip
TINY = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}  # fmt: skip


def lmsys_rows(count: int, vocabulary: int, *, longest: int = 2048, seed: int = 0) -> list[np.ndarray]:
    """Rows of random tokens with lengths as in LMSYS: log-normal, mean 752 tokens, cut at ``longest``.

    Lengths are quantiles, not draws, so that few rows have the same mean as many; their order is random.
    """
    generator = np.random.default_rng(seed)
    normal = statistics.NormalDist(6.363, 0.85)
    quantiles = [normal.inv_cdf((i + 0.5) / count) for i in range(count)]
    lengths = generator.permutation(np.clip(np.exp(quantiles), 40, longest).astype(int))
    return [generator.integers(5, vocabulary, n) for n in lengths]


def random_judge(kind: str, *, device: str, tiny: bool = False, layers: int | None = None) -> torch.nn.Module:
    """The model in bfloat16 (float32 on a CPU) with transformers' own initialisation, cut to ``layers`` if given."""
    shape = SHAPES[kind]
    sizes = (TINY if tiny else shape["full"]) | ({"num_hidden_layers": layers} if layers else {})
    config = shape["config"](**sizes, num_labels=3, pad_token_id=0)
    config._attn_implementation = "eager" if kind == "gemma" else "sdpa"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    try:
        with torch.device(device):
            model = shape["model"](config)
    finally:
        torch.set_default_dtype(torch.float32)
    return model.eval()


def flops_per_token(model: torch.nn.Module) -> float:
    """Two operations for each weight of the decoder layers' matrices."""
    return 2.0 * sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2)


def matmul_rate(device: str) -> float:
    """Operations a second of a square product: 8192 in bfloat16 on a GPU, 1024 in float32 on a CPU."""
    size, dtype, repeats = (8192, torch.bfloat16, 30) if device != "cpu" else (1024, torch.float32, 5)
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    for _ in range(5):
        a @ b
    with Timer(device) as timer:
        for _ in range(repeats):
            a @ b
    return repeats * 2 * size**3 / timer.seconds


class Timer:
    """Wall-clock seconds of a block, the device's queue included."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> Timer:
        self._wait()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self._start

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def quantise(model: torch.nn.Module, how: str, device: str) -> torch.nn.Module:
    """bitsandbytes' layers in place of the decoder's, one at a time: "nf4" (double quantisation) or "int8"."""
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if ".layers." not in name or not isinstance(module, torch.nn.Linear):
            continue
        weight = module.weight.data.half()
        if how == "nf4":
            compute = torch.float32 if device == "cpu" else torch.float16
            layer = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=False, quant_type="nf4",
                                      compute_dtype=compute, device="meta")  # fmt: skip
            layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
        else:
            layer = bnb.nn.Linear8bitLt(module.in_features, module.out_features, bias=False, has_fp16_weights=False,
                                         device="meta")  # fmt: skip
            layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.to(device))
    return cast_parameters(model, torch.float16) if device != "cpu" else model


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Weights in ``dtype``, buffers left alone: rotary frequencies in half precision turn late tokens by a radian.

    Quantised weights are integers and stay what they are.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model


def with_lora(model: torch.nn.Module, kind: str) -> torch.nn.Module:
    """An unmerged adapter of rank 16 as the notebook loads it; its B is random, so that it is not zero."""
    import peft

    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules=SHAPES[kind]["lora"], task_type="SEQ_CLS")
    wrapped = peft.get_peft_model(model, config).eval()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.005)
    return wrapped


@torch.no_grad()
def notebook_loop(model, rows: Sequence[np.ndarray], device: str, *, descending: bool = True, batch: int = 4):
    """The notebook's inference: sorted by length, batches of 4 padded to the longest, fp16 autocast; seconds and p."""
    order = np.argsort([-len(r) if descending else len(r) for r in rows], kind="stable")
    out = np.zeros((len(rows), 3), np.float32)
    with Timer(device) as timer:
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids, mask = padded([rows[i] for i in chosen])
            with torch.autocast(torch.device(device).type, torch.float16 if device != "cpu" else torch.bfloat16):
                logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
            out[chosen] = logits.float().softmax(-1).cpu().numpy()
    return timer.seconds, out


def padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and mask, int64 [rows, longest]."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    return ids, mask


def trainer_predict(model, rows: Sequence[np.ndarray], device: str) -> tuple[float, np.ndarray]:
    """Seconds and logits of ``transformers.Trainer(model).predict`` with its defaults and a padding collator."""
    import tempfile

    def collate(batch):
        ids, mask = padded([item["ids"] for item in batch])
        return {"input_ids": ids, "attention_mask": mask}

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(folder, report_to=[], disable_tqdm=True, remove_unused_columns=False,
                                                   use_cpu=device == "cpu")  # fmt: skip
        trainer = transformers.Trainer(model, arguments, data_collator=collate)
        with Timer(device) as timer:
            logits = trainer.predict([{"ids": row} for row in rows]).predictions
    return timer.seconds, logits


def cross_encoder(model, rows: Sequence[np.ndarray], device: str, *, batch: int = 32) -> tuple[float, np.ndarray]:
    """Seconds and p of what sentence-transformers' CrossEncoder.predict does: sorted, batches of 32, a mask.

    The class itself wants texts and a tokenizer; its loop is followed step by step on the same token ids.
    """
    order = np.argsort([-len(r) for r in rows], kind="stable")
    out = np.zeros((len(rows), 3), np.float32)
    with torch.inference_mode(), Timer(device) as timer:
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids, mask = padded([rows[i] for i in chosen])
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
            out[chosen] = logits.float().softmax(-1).cpu().numpy()
    return timer.seconds, out

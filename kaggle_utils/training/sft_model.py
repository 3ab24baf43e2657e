"""The model of a fine-tuning run: from a folder or from memory, in the type that its device trains in.

It promises that a folder is loaded whole or not at all, that without LoRA weights are float32 (mixed precision needs
that), and a name for the weights by which another run is told apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.models.checkpoint import companion_files, open_checkpoint
from kaggle_utils.models.loading import load_causal_lm, load_tokenizer
from kaggle_utils.training.lora import LoraSettings, attach_lora
from kaggle_utils.training.run_identity import folder_digest
from kaggle_utils.training.sft_settings import SftSettings

__all__ = ["BaseModel", "autocast_of"]

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "no": "float32"}
_NOT_OF_AN_ADAPTER = ("config.json", "generation_config.json", "quantization_report.json")


def autocast_of(device: str, precision: str) -> Callable[[], Any]:
    """Return what makes the context of a forward pass."""
    torch = require("torch", extra="llm")
    if precision == "no":
        return contextlib.nullcontext
    kind = getattr(torch, _DTYPES[precision])
    return lambda: torch.autocast(torch.device(device).type, dtype=kind)


class BaseModel:
    """What training begins with: a folder, or a model in memory with its tokenizer."""

    def __init__(self, given: Any, tokenizer: Any = None) -> None:
        """Take a folder's path, or a model.

        Raises:
            FileNotFoundError: no such folder.
            CheckpointError: a folder that is not a whole model.
            ValueError: a model in memory without a tokenizer.
        """
        self._model = None if isinstance(given, str | os.PathLike) else given
        self.folder: Path | None = (
            open_checkpoint(given, tokenizer=tokenizer is None).folder if self._model is None else None
        )
        if self.folder is None and tokenizer is None:
            raise ValueError("a model in memory needs its tokenizer: train_sft(model, rows, tokenizer=...)")
        self.tokenizer = load_tokenizer(self.folder) if tokenizer is None else tokenizer

    @property
    def name(self) -> str:
        """For people."""
        return str(self.folder) if self.folder is not None else str(self._model.config._name_or_path or "in memory")

    def digest(self) -> str:
        """Name the weights: all bytes of a folder (1 s a GB), a sample of each tensor of a model in memory."""
        if self.folder is not None:
            return folder_digest(self.folder)
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self._model.state_dict().items()):
            sample = tensor.detach().flatten()[:256].float().cpu().numpy()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + sample.tobytes())
        return digest.hexdigest()

    def load(self, settings: SftSettings, lora: LoraSettings | None, *, device_map: Any, precision: str) -> Any:
        """Return the model to train, with new adapters where ``lora`` asks for them.

        Raises:
            ValueError: quantised weights without LoRA; a quantisation asked for of a model in memory.
        """
        model = self._loaded(lora, device_map, precision)
        if lora is None and getattr(model, "hf_quantizer", None) is not None:
            raise ValueError(f"{self.name} is quantised: its own weights cannot be trained; give lora=LoraSettings()")
        model.config.use_cache = False
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        return model.float() if lora is None else attach_lora(model, lora, seed=settings.seed)

    def add_companions(self, folder: Path, *, is_adapter: bool) -> None:
        """Put the tokenizer's files (for a whole model also its settings and licence) beside trained weights."""
        if self.folder is None:
            self.tokenizer.save_pretrained(folder)
            return
        for name in companion_files([file.name for file in self.folder.iterdir() if file.is_file()]):
            if (folder / name).exists() or (is_adapter and (name in _NOT_OF_AN_ADAPTER or name.startswith("README"))):
                continue
            (folder / name).write_bytes((self.folder / name).read_bytes())

    def _loaded(self, lora: LoraSettings | None, device_map: Any, precision: str) -> Any:
        if self.folder is None:
            if lora is not None and lora.quantization != "none":
                raise ValueError(f"quantization={lora.quantization!r} is for folders; a model in memory stays as it is")
            placed = getattr(self._model, "hf_device_map", None) or getattr(self._model, "hf_quantizer", None)
            return self._model if placed or not isinstance(device_map, str) else self._model.to(device_map)
        return load_causal_lm(
            self.folder,
            quantization="none" if lora is None else lora.quantization,
            double_quant=lora is None or lora.double_quant,
            device_map=device_map,
            dtype="float32" if lora is None else _DTYPES[precision],
        )[0]

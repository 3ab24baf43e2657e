"""A model folder written again with smaller weights, so that 18 GB become 6 before anything is packed.

It promises that what was written loads again and computes what the model in memory computed, or no folder at all. It
does not know how good the quantised model is: measure that on the task.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.asked_model import open_asked, write_provenance
from kaggle_utils.models.chat_templates import add_chat_template, check_chat_template
from kaggle_utils.models.checkpoint import Checkpoint, companion_files, open_checkpoint
from kaggle_utils.models.loading import load_causal_lm
from kaggle_utils.models.placement import empty_model, read_config
from kaggle_utils.models.precision import choose_dtype
from kaggle_utils.models.quantization import check_name

if TYPE_CHECKING:
    import torch

__all__ = ["SaveReport", "estimated_bytes", "quantize_and_save"]

_logger = logging.getLogger(__name__)

_REPORT = "quantization_report.json"
_BYTES_PER_WEIGHT = {"int8": 1.01, "nf4": 0.57, "fp4": 0.57}  # with scales, rounded up
_MARGIN = 64 * 2**20


@dataclass(frozen=True)
class SaveReport:
    """What :func:`quantize_and_save` wrote; also in ``quantization_report.json`` inside the folder."""

    target: str
    """The folder written."""
    source: str
    """The folder read, as the caller named it."""
    source_config_sha256: str
    """Digest of the source's ``config.json``."""
    quantization: str
    """Scheme of the linear layers."""
    dtype: str
    """Type of everything else."""
    source_bytes: int
    """Size of the weights read."""
    target_bytes: int
    """Size of the weights written."""
    max_logit_difference: float
    """Largest difference between the logits before saving and after loading again."""
    seconds: float
    """Time it all took."""
    versions: Mapping[str, str]
    """Of the libraries that wrote it."""


def quantize_and_save(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    quantization: str = "nf4",
    double_quant: bool = True,
    dtype: str | torch.dtype = "auto",
    device_map: str | int | Mapping[str, int | str] = "auto",
    revision: str | None = None,
    expect: str | None = None,
    accept: Sequence[str] = (),
    chat_template: str | None = None,
    overwrite: bool = False,
) -> SaveReport:
    """Load ``source`` quantised, write it to ``target``, load it from there and compare.

    What was asked for, loaded and saved is recorded in the folder's ``provenance.json``, and compared whenever the
    folder is loaded.

    Args:
        source: a model folder with weights that are not quantised yet, or a hub id (``"google/gemma-2-27b-it"``), which
            is fetched into scratch space.
        target: the folder to make; it appears under its name only when it is complete and was checked.
        quantization: ``"int8"``, ``"nf4"`` or ``"fp4"``.
        double_quant: quantise the scales of 4-bit weights too.
        dtype: type of what stays unquantised (embeddings, norms, output head); ``"auto"`` keeps the source's own. A
            float32 source becomes smaller with ``"float16"``.
        device_map: where to quantise, as in :func:`kaggle_utils.models.loading.load_causal_lm`.
        revision: of a hub id: branch, tag or commit.
        expect: the hub id that a folder should be a copy of; None: of a hub id that id, of a folder no check of names.
        accept: further names that the model's config may bear.
        chat_template: for a base model without one: "gemma2" or "chatml" (``models.chat_templates``), checked first.
        overwrite: replace ``target`` if it exists.

    Raises:
        FileExistsError: ``target`` exists and ``overwrite`` is False.
        CheckpointError: the source is a copy of another maker, or quantised already: it is not what was asked for.
        OSError: not enough free space; nothing was written.
        ValueError: ``quantization`` is ``"none"``; a chat template that does not fit; ``revision`` for a folder.
        RuntimeError: the folder written computes something else than the model in memory did; it is removed.
    """
    started = time.monotonic()
    check_name(quantization)
    goal = Path(target).expanduser().absolute()
    _check_request(goal, quantization, overwrite)
    asked = {"source": os.fspath(source), "revision": revision, "expect": expect, "accept": list(accept)}
    checkpoint = open_asked(**asked)
    end_id = check_chat_template(checkpoint.folder, chat_template) if chat_template else None
    kept_dtype, _ = choose_dtype(_stored_dtype(checkpoint) if dtype == "auto" else dtype, device="cpu")
    _check_space(checkpoint, goal, quantization, kept_dtype.itemsize)
    partial = goal.with_name(goal.name + ".partial")
    options = {"device_map": device_map, "dtype": kept_dtype}
    try:
        loading = {"quantization": quantization, "double_quant": double_quant, **options}
        difference = _write_and_compare(checkpoint, partial, loading, options)
        report = SaveReport(
            target=str(goal),
            source=os.fspath(source),
            source_config_sha256=checkpoint.config_sha256,
            quantization=quantization,
            dtype=str(kept_dtype).removeprefix("torch."),
            source_bytes=checkpoint.weight_bytes,
            target_bytes=open_checkpoint(partial).weight_bytes,
            max_logit_difference=difference,
            seconds=round(time.monotonic() - started, 1),
            versions=_versions(),
        )
        if chat_template and end_id is not None:
            add_chat_template(partial, chat_template, end_id)
        write_provenance(partial, asked, checkpoint)
        (partial / _REPORT).write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n", encoding="utf-8")
        _move_into_place(partial, goal)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _logger.info("%s: %.2f GB became %.2f GB", goal, report.source_bytes / 1e9, report.target_bytes / 1e9)
    return report


def estimated_bytes(model: torch.nn.Module, *, quantization: str, itemsize: int) -> int:
    """Return about how many bytes the quantised weights of ``model`` (it may be on the meta device) will take.

    Linear layers other than the output head shrink; everything else takes ``itemsize`` bytes a number.
    """
    torch = require("torch", extra="llm")
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    total = sum(parameter.numel() for parameter in model.parameters())
    return int(linear * _BYTES_PER_WEIGHT.get(quantization, itemsize) + (total - linear) * itemsize)


def _check_request(goal: Path, quantization: str, overwrite: bool) -> None:
    if quantization == "none":
        raise ValueError("quantization='none' would only copy the folder; expected 'int8', 'nf4' or 'fp4'")
    if goal.exists() and not overwrite:
        raise FileExistsError(f"{goal} exists; give another target, or overwrite=True to replace it")
    goal.parent.mkdir(parents=True, exist_ok=True)


def _stored_dtype(checkpoint: Checkpoint) -> str:
    return str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype") or "float32")


def _check_space(checkpoint: Checkpoint, goal: Path, quantization: str, itemsize: int) -> None:
    skeleton = empty_model(read_config(checkpoint))
    need = estimated_bytes(skeleton, quantization=quantization, itemsize=itemsize) + _MARGIN
    free = shutil.disk_usage(goal.parent).free
    if free < need:
        raise OSError(
            f"writing {checkpoint.folder} as {quantization} to {goal} takes about {need / 1e9:.2f} GB, and "
            f"{free / 1e9:.2f} GB are free there; choose a target on another disk, such as one in "
            "environment.scratch_dir(), or make room"
        )


def _write_and_compare(
    checkpoint: Checkpoint, folder: Path, loading: Mapping[str, Any], reloading: Mapping[str, Any]
) -> float:
    """Write the quantised model and return how much its logits differ once it is loaded again."""
    model, _ = load_causal_lm(checkpoint.folder, **loading)
    # No forward before saving: bitsandbytes repacks 4-bit weights in a forward on some CPUs, and saves them wrong.
    _write(model, checkpoint, folder)
    expected = _probe_logits(model)
    del model  # two copies may not fit
    again, _ = load_causal_lm(folder, **reloading)
    return _compared(expected, _probe_logits(again), folder)


def _write(model: Any, checkpoint: Checkpoint, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    companions = companion_files(sorted(str(p.relative_to(checkpoint.folder)) for p in checkpoint.folder.rglob("*")))
    if "generation_config.json" in companions:  # copied below as it is; a strict transformers might refuse to save it
        model.generation_config = require("transformers", extra="llm").GenerationConfig()
    model.save_pretrained(folder, safe_serialization=True)
    for name in companions:
        if name not in ("config.json", _REPORT):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(checkpoint.folder / name, folder / name)


def _probe_logits(model: Any) -> Any:
    """Return float32 logits on the CPU, [1, tokens, vocabulary], for a few fixed tokens."""
    torch = require("torch", extra="llm")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, 9).mul(37).remainder(vocabulary).unsqueeze(0)
    with torch.inference_mode():
        return model(input_ids=ids.to(model.get_input_embeddings().weight.device)).logits.float().cpu()


def _compared(expected: Any, found: Any, goal: Path) -> float:
    difference = (expected - found).abs().max().item()
    scale = expected.abs().max().item()
    if not difference <= 0.01 * scale:  # also when one of them is NaN
        raise RuntimeError(
            f"{goal.name} was not kept: loaded again it differs by {difference:.3g} on logits of up to {scale:.3g} "
            "from the model in memory; update bitsandbytes and transformers, or use double_quant=True or "
            "quantization='int8'"
        )
    return difference


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "bitsandbytes", "safetensors")
    return {name: str(getattr(require(name, extra="llm"), "__version__", "unknown")) for name in names}


def _move_into_place(partial: Path, goal: Path) -> None:
    if not goal.exists():
        partial.replace(goal)
        return
    aside = goal.with_name(goal.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    goal.replace(aside)
    partial.replace(goal)
    shutil.rmtree(aside, ignore_errors=True)

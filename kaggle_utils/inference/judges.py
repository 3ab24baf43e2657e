"""Judges from model folders: how each computes, what a worker builds, where it begins, how it is named in the store.

It promises that a judge's fingerprint covers its files, adapter, prompt style, truncation and precision, with nothing
left to be decided later, and that judges are placed where they fit by an estimate. It loads no model: workers do, each
on its own device.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kaggle_utils.inference.fingerprint import run_fingerprint
from kaggle_utils.inference.judge_checks import check_judge
from kaggle_utils.inference.judge_needs import check_fp8, judge_need, settle_precision
from kaggle_utils.inference.placement import ModelNeed, Placement, choose_placement
from kaggle_utils.inference.scoring import Judge
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.models.rooms import DeviceRoom, device_rooms

__all__ = ["JudgePlan", "bfloat16_scorer", "folder_judge", "packed_scorer", "place_judges"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgePlan:
    """Judges, and where they run: what ``score_pairs`` takes."""

    judges: tuple[Judge, ...]
    """As given, but told whether they may lie on one device together."""
    devices: tuple[str, ...]
    """One worker each; the devices of a pipeline are one worker's."""
    placement: Placement
    """Which judge begins where."""

    def to_text(self) -> str:
        """The choice and its reason, and how each judge computes."""
        lines = [f"{self.placement.name} on {' | '.join(self.devices)}: {self.placement.reason}"]
        for judge in self.judges:
            known = judge.spec.kwargs
            if judge.spec.factory is packed_scorer:
                lines.append(f"{judge.name}: {known['quantization']}, {known['dtype']}, {known['merge']}")
        return "\n".join(lines)


def folder_judge(
    name: str,
    folder: str | os.PathLike[str],
    tokenizer: Any,
    *,
    adapter: str | os.PathLike[str] | None = None,
    lora: Mapping[str, Any] | None = None,
    num_labels: int = 3,
    quantization: str = "none",
    keep: Sequence[str] = (),
    dtype: str = "auto",
    merge: str = "auto",
    max_tokens: int = 8192,
    compile: bool | str = "auto",
    devices: Sequence[str | DeviceRoom] | None = None,
    weight: float = 1.0,
    temperature: float = 1.0,
    swapped: bool = False,
    fits_beside: bool = False,
    flops_per_token: float | None = None,
) -> Judge:
    """Return a judge for a sequence classifier on disk.

    What is "auto" is settled here, from the devices' kinds and sizes, and becomes part of the fingerprint: a run that
    goes on elsewhere with another precision computes its rows anew instead of mixing them.

    Args:
        name: in results, reports and the store.
        folder: the model.
        tokenizer: a ``PairTokenizer``; its settings are part of the fingerprint.
        adapter: a peft folder or a raw LoRA state dict; it is read here once, so that a wrong one is found now.
        lora: settings of a raw state dict, such as ``{"alpha": 32}``: fields of
            :class:`~kaggle_utils.models.raw_lora.LoraSettings`.
        num_labels: 3 (A, B, tie) or 2.
        quantization: of ``load_sequence_classifier``, or ``"fp8"``: weights merged and expanded once, then row-wise
            8-bit floating point (``models.fp8``), where all devices have it.
        keep: regular expressions for the layers that fp8 leaves in bfloat16, such as ``["down_proj$"]``.
        dtype: of the arithmetic; "auto": bfloat16 where all GPUs have it, float16 on GPUs, float32 on CPUs.
        merge: what to do with the adapter, of ``load_sequence_classifier``; "auto" also expands quantised weights
            without an adapter, where they fit on the smallest device.
        max_tokens: largest pack.
        compile: compile the decoder layers: True, False, or "auto" (measured on the first packs).
        devices: what will be there, as :func:`~kaggle_utils.models.rooms.device_rooms` takes it; None: all GPUs,
            else the CPU.
        weight: of :class:`~kaggle_utils.inference.scoring.Judge`, and so are ``temperature`` and ``swapped``.
        temperature: divides the logits.
        swapped: it reads B first.
        fits_beside: of :class:`~kaggle_utils.inference.specs.ScorerSpec`, and so is ``flops_per_token``;
            :func:`place_judges` sets it.
        flops_per_token: for the MFU; twice the linear parameters.

    Raises:
        ValueError: settings that are unknown, contradict each other, or that a device cannot compute.
        FileNotFoundError: no adapter there.
        CheckpointError: the folder is not a whole model, or the adapter is none.
    """
    model: dict[str, Any] = {
        "folder": os.fspath(folder),
        "adapter": os.fspath(adapter) if adapter is not None else None,
        "lora": dict(lora) if lora else None,
        "num_labels": num_labels,
        "quantization": quantization,
        "keep": list(keep),
        "dtype": dtype,
        "merge": merge,
        "max_tokens": max_tokens,
        "compile": compile,
    }
    check_judge(name, model)
    settled = settle_precision(model, device_rooms(devices), longest=_longest(tokenizer))
    _logger.info("%s: %s, %s, %s (%s)", name, settled.quantization, settled.dtype, settled.merge, settled.reason)
    model |= {"dtype": settled.dtype, "merge": settled.merge}
    settings = tokenizer.settings() if hasattr(tokenizer, "settings") else None
    decides = {key: value for key, value in model.items() if key not in ("folder", "adapter", "max_tokens")}
    spec = ScorerSpec(
        name,
        packed_scorer,
        model,
        fingerprint=run_fingerprint(folder, adapter=adapter, tokenizer=settings, **decides),
        num_labels=num_labels,
        safe=bfloat16_scorer,
        fits_beside=fits_beside,
        flops_per_token=flops_per_token,
    )
    return Judge(spec, tokenizer, weight=weight, temperature=temperature, swapped=swapped)


def place_judges(
    judges: Sequence[Judge],
    *,
    devices: Sequence[str | DeviceRoom] | None = None,
    placement: str = "auto",
    needs: Mapping[str, ModelNeed] | None = None,
) -> JudgePlan:
    """Choose where judges begin, from their sizes and those of the devices; the reason is logged.

    Args:
        judges: of :func:`folder_judge`, made for the same devices.
        devices: see :func:`folder_judge`.
        placement: a name of :data:`~kaggle_utils.inference.placement.PLACEMENTS`, or "auto": a judge that fits on no
            single device is cut into a pipeline.
        needs: by name, what judges take that are not of :func:`folder_judge`.

    Raises:
        PlacementError: judges that fit nowhere, with what they need and what there is.
        ValueError: a judge whose size is not known.
    """
    rooms = device_rooms(devices)
    known = dict(needs or {})
    if unknown := [j.name for j in judges if j.name not in known and j.spec.factory is not packed_scorer]:
        raise ValueError(f"the sizes of {unknown} are not known; give needs={{name: ModelNeed(...)}} for them")
    models = [
        known.get(judge.name) or judge_need(judge.name, judge.spec.kwargs, rooms, longest=_longest(judge.tokenizer))
        for judge in judges
    ]
    chosen = choose_placement(models, rooms, name=placement, allow_pipeline=True)
    plan = JudgePlan(
        tuple(replace(judge, spec=replace(judge.spec, fits_beside=chosen.together)) for judge in judges),
        chosen.devices,
        chosen,
    )
    _logger.info("%s", plan.to_text())
    return plan


def packed_scorer(
    *,
    device: str,
    folder: str,
    max_tokens: int = 8192,
    compile: bool | str = "auto",
    quantization: str = "none",
    keep: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Load the classifier in ``folder`` onto ``device`` and return its ``PackedClassifier``.

    Args:
        device: as torch calls it; several with commas between them make a pipeline.
        folder: the model.
        max_tokens: largest pack.
        compile: of ``PackedClassifier``.
        quantization: of ``load_sequence_classifier``, or ``"fp8"``.
        keep: layers that fp8 leaves alone.
        options: of ``load_sequence_classifier``.
    """
    from kaggle_utils.models.classifier import load_sequence_classifier
    from kaggle_utils.models.fp8 import to_fp8
    from kaggle_utils.models.gelu import use_sigmoid_gelu
    from kaggle_utils.models.nf4 import fold_nf4
    from kaggle_utils.models.packed import PackedClassifier

    fp8 = quantization == "fp8"
    if fp8:  # the worker's own device, before it reads gigabytes
        check_fp8(device_rooms(device.split(",")))
    loaded = load_sequence_classifier(
        folder, device=device, pack_tokens=max_tokens, quantization="none" if fp8 else quantization, **options
    )
    if loaded.device.startswith("cuda"):
        if compile is not False:
            use_sigmoid_gelu(loaded.model)  # gains where it is fused with what follows, and only there
        if _has_4bit(loaded.model):
            fold_nf4(loaded.model)  # expanded once a pack, the adapter inside, nothing that breaks a compiled graph
    if fp8:
        to_fp8(loaded.model, keep=keep)
    return PackedClassifier(loaded.model, max_tokens=max_tokens, compile=compile)


def bfloat16_scorer(scorer: Any, *, device: str, **kwargs: Any) -> Any:
    """Return the same model in bfloat16 on the CPU, for the few rows that overflow float16.

    bfloat16 has the range of float32, so sums that float16 cannot hold stay finite; the CPU has room for a second
    copy where the card has none. A row takes seconds there.
    """
    if kwargs.get("quantization") == "fp8":  # not on a CPU, and the weights it was made from are better anyway
        kwargs = {**kwargs, "quantization": "none", "keep": ()}
    return packed_scorer(device="cpu", **{**kwargs, "dtype": "bfloat16", "compile": False})


def _longest(tokenizer: Any) -> int:
    return getattr(tokenizer, "max_length", None) or 2048


def _has_4bit(model: Any) -> bool:
    return any(type(module).__name__ == "Linear4bit" for module in model.modules())

"""An adapter merged into its base model, as an ordinary model folder; and a folder pushed to the hub.

It promises that what is written computes what base and adapter compute together (checked on probe tokens, before and
after writing), or no folder. It merges into 16- or 32-bit weights, never into 4-bit ones: that would round the adapter
away.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapters import read_adapter
from kaggle_utils.models.checkpoint import CheckpointError, companion_files, open_checkpoint
from kaggle_utils.models.loading import load_causal_lm
from kaggle_utils.models.merging import expand_weights
from kaggle_utils.models.quantization import stored_quantization

__all__ = ["MergeReport", "merge_and_save", "push_to_hub"]

_logger = logging.getLogger(__name__)

_REPORT = "merge_report.json"
_COARSE = {"float32": 1e-3, "float16": 0.03, "bfloat16": 0.1}
"""Most that rounding merged weights may move logits, as a share of the largest one."""


@dataclass(frozen=True)
class MergeReport:
    """What :func:`merge_and_save` wrote; also in ``merge_report.json`` inside the folder."""

    target: str
    """The folder written."""
    base: str
    """The model merged into."""
    adapter: str
    """The adapter merged."""
    dtype: str
    """Type of the weights."""
    merge_difference: float
    """Largest difference of logits between base with adapter and the merged model."""
    reload_difference: float
    """Largest difference of logits between the merged model and the folder loaded again."""
    adapter_effect: float
    """Largest difference of logits that the adapter makes; 0 would mean it was never trained."""


def merge_and_save(
    adapter: str | os.PathLike[str],
    base: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: Any = "auto",
    device_map: Any = "auto",
    overwrite: bool = False,
) -> MergeReport:
    """Merge the adapter at ``adapter`` into ``base`` and write a model folder; both stay as they are.

    Args:
        adapter: a folder that :func:`~kaggle_utils.training.sft.train_sft` (or peft) wrote.
        base: the model that it was trained on; a quantised folder is expanded first.
        target: the folder to make; it appears when it is complete and was checked.
        dtype: of the merged weights; "auto": bfloat16 on GPUs that have it, float16 on others, float32 on a CPU.
        device_map: where to merge.
        overwrite: replace ``target``.

    Raises:
        FileExistsError: ``target`` exists.
        CheckpointError: a damaged adapter, one whose layers the base does not have, or a damaged base.
        OSError: too little disk.
        RuntimeError: the merged model computes something else; nothing is left.
    """
    found, checkpoint = read_adapter(adapter), open_checkpoint(base)
    goal = Path(target).expanduser().absolute()
    if goal.exists() and not overwrite:
        raise FileExistsError(f"{goal} exists; give another target, or overwrite=True to replace it")
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(goal.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model, _ = load_causal_lm(base, device_map=device_map, dtype=dtype)
    kind = next(p.dtype for p in model.parameters() if p.is_floating_point())
    if stored_quantization(checkpoint.config) != "none":
        expand_weights(model, dtype=kind)
        model._weight_conversions = None  # how 4-bit tensors were read; transformers would undo it when saving
    _check_room(model, goal)
    plain = _probe(model)
    attached = _attached(model, found, Path(adapter))
    together = _probe(attached)
    merged = attached.merge_and_unload(safe_merge=True)
    after = _probe(merged)
    try:
        merge_difference = _compared(together, after, kind, "merged, the model differs")
        merged.save_pretrained(partial, safe_serialization=True)
        _copy_companions(checkpoint.folder, Path(adapter), partial)
        del model, attached, merged  # two copies may not fit
        again, _ = load_causal_lm(partial, device_map=device_map, dtype=kind)
        reload_difference = _compared(after, _probe(again), kind, "loaded again, the folder differs")
        report = MergeReport(str(goal), os.fspath(base), os.fspath(adapter), str(kind).removeprefix("torch."),
                             merge_difference, reload_difference, (together - plain).abs().max().item())  # fmt: skip
        (partial / _REPORT).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
        if goal.exists():
            shutil.rmtree(goal)
        partial.replace(goal)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _logger.info("%s: merged, logits within %.3g", goal, merge_difference)
    return report


def push_to_hub(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    message: str = "Upload",
) -> str:
    """Upload a folder (an adapter or a merged model) and return the address of the commit. Nothing else here uploads.

    Args:
        folder: what to upload; logs and checkpoints of a run are not in it.
        repo_id: ``"owner/name"``; made where it is not there.
        private: who may see it; a repository that is public already is refused unless this is False.
        token: with the right to write; None: the one that the hub's own login left, or ``HF_TOKEN``.
        message: of the commit.

    Raises:
        FileNotFoundError: no such folder.
        PermissionError: ``private`` is asked for, and the repository is public.
    """
    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"no folder at {place}; give SftResult.model_folder or the target of merge_and_save")
    hub = require("huggingface_hub", extra="llm")
    api = hub.HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise PermissionError(
            f"{repo_id} is public and nothing was uploaded; give another name, or private=False to publish"
        )
    return str(api.upload_folder(repo_id=repo_id, folder_path=place, commit_message=message))


def _attached(model: Any, adapter: Any, folder: Path) -> Any:
    names = {name for name, _ in model.named_modules()}
    if missing := [layer for layer in adapter.layers if layer not in names]:
        near = ", ".join(missing[:4])
        raise CheckpointError(folder, [f"{len(missing)} of its layers are not in the base model: {near}",
                                       "give the base that it was trained on"])  # fmt: skip
    return require("peft", extra="llm").PeftModel.from_pretrained(model, folder).eval()


def _check_room(model: Any, goal: Path) -> None:
    need = sum(p.numel() * p.element_size() for p in model.parameters()) + (64 << 20)
    free = shutil.disk_usage(goal.parent).free
    if free < need:
        raise OSError(f"{goal} takes about {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; choose another disk")


def _copy_companions(base: Path, adapter: Path, target: Path) -> None:
    """The tokenizer's files: those that training left beside the adapter first, then the base's."""
    for source in (adapter, base):
        for name in companion_files([file.name for file in source.iterdir() if file.is_file()]):
            if name.startswith(("adapter_", "sft.json", "README")) or (target / name).exists():
                continue
            if name not in ("config.json", "quantization_report.json"):
                shutil.copyfile(source / name, target / name)


def _probe(model: Any) -> Any:
    """Return float32 logits on the CPU, [1, tokens, vocabulary], for a few fixed tokens."""
    torch = require("torch", extra="llm")
    weight = model.get_input_embeddings().weight
    ids = torch.arange(1, 17).mul(37).remainder(weight.shape[0]).unsqueeze(0)
    with torch.inference_mode():
        return model(input_ids=ids.to(weight.device), use_cache=False).logits.float().cpu()


def _compared(expected: Any, found: Any, kind: Any, what: str) -> float:
    difference, scale = (expected - found).abs().max().item(), expected.abs().max().item()
    if not difference <= _COARSE[str(kind).removeprefix("torch.")] * scale:  # also when one of them is NaN
        raise RuntimeError(
            f"{what} by {difference:.3g} on logits of up to {scale:.3g}; nothing was written. Merge with "
            "dtype='float32', or keep the adapter apart from the model"
        )
    return difference

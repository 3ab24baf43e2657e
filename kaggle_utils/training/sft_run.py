"""One fine-tuning run in its folder, from wherever an earlier process left it to its result.

It promises that nothing that is done is repeated, and that what lies in the folder says where the run is:
``result.json`` (done), else the trained weights, else ``checkpoint-*`` (in training). Rows and settings come from the
caller.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import logging
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.training.fold_checkpoints import TrainedTo, agreed_checkpoint, check_disk, disk_needed
from kaggle_utils.training.lora import LoraSettings
from kaggle_utils.training.run_files import read_json, write_json
from kaggle_utils.training.run_folder import strip_checkpoint
from kaggle_utils.training.run_identity import RunMismatchError, array_digest, differences, versions
from kaggle_utils.training.sft_attention import choose_packed_attention
from kaggle_utils.training.sft_batches import PackedRows, SftCollator, eval_batches, shared_batches, training_batches
from kaggle_utils.training.sft_data import SftRows
from kaggle_utils.training.sft_model import BaseModel, autocast_of
from kaggle_utils.training.sft_result import save_loss_plot
from kaggle_utils.training.sft_settings import SftSettings
from kaggle_utils.training.sft_trainer import sft_arguments, sft_trainer
from kaggle_utils.training.step_shares import share_step
from kaggle_utils.training.team import Team

__all__ = ["SftRun"]

_logger = logging.getLogger(__name__)

_FILLED_UP = "flex_attention"  # compiled for one shape, so every pack has it


@dataclasses.dataclass
class SftRun:
    """What one call was given, and the steps of its folder."""

    place: Path
    base: BaseModel
    rows: SftRows
    held_out: SftRows | None
    settings: SftSettings
    lora: LoraSettings | None
    precision: str
    device_map: Any
    team: Team
    progress: bool

    @property
    def goal(self) -> Path:
        """Where the trained weights lie in the end."""
        return self.place / ("model" if self.lora is None else "adapter")

    def claim(self, about: Mapping[str, Any] | None) -> None:
        """Refuse a folder that holds another run; else note what this one is made of.

        Raises:
            RunMismatchError: another run.
            TeamError: processes were given different rows, or do not see the folder.
        """
        identity = {
            "settings": self.settings.as_dict(),
            "lora": self.lora.as_dict() if self.lora else None,
            "mixed_precision": self.precision,
            "model": self.base.digest(),
            "rows": _rows_digest(self.rows),
            "eval": _rows_digest(self.held_out),
            "about": dict(about or {}),
        }
        self.team.check_same(identity)
        self.team.first(lambda: self._claim(identity))
        self.team.check_shared(self.place / "run.json")

    def _claim(self, identity: Mapping[str, Any]) -> None:
        file = self.place / "run.json"
        if file.is_file():
            before = read_json(file)
            if found := differences(before["identity"], json.loads(json.dumps(identity))):
                raise RunMismatchError(self.place, found)
            if found := differences(before["versions"], versions()):
                _logger.warning("packages changed since the run began, so bits may differ: %s", "; ".join(found))
        else:
            data = {"train": self.rows.report.as_dict(), "eval": self.held_out and self.held_out.report.as_dict()}
            about_run = {"base": self.base.name, "identity": identity, "versions": versions(), "data": data}
            write_json(file, about_run)

    def train(self) -> None:
        """Train what is left, keep the chosen weights, and write the result last."""
        if not self.team.first(self.goal.is_dir):
            trainer, attention = self._trainer()
            trained = agreed_checkpoint(self.place, self.team)
            if trained is None or not trained.finished:
                trained = self._fit(trainer, trained, attention)
            self.team.first(lambda: self._keep(trained))
            _free(trainer)
        self.team.first(self._finish)

    def _trainer(self) -> tuple[Any, str]:
        settings = self.settings
        model = self.base.load(settings, self.lora, device_map=self.device_map, precision=self.precision)
        if self.team.sharded and getattr(model, "hf_quantizer", None) is not None:
            raise ValueError(f"{self.base.name} has quantised weights, and FSDP shares out 16-bit ones only; train it "
                             "without --use_fsdp, or give the 16-bit folder and quantization='none'")  # fmt: skip
        attention, reason = self._attention(model)
        pad_id = self.base.tokenizer.pad_token_id or 0
        size = settings.max_length if attention == _FILLED_UP else None
        collate = SftCollator(pad_id, attention, size, noise=settings.neftune_noise_alpha is not None)
        packed = PackedRows(self.rows, size=settings.max_length if settings.packing else None)
        items, batches = packed, training_batches(packed, settings)
        share = share_step(settings.per_device_train_batch_size, settings.gradient_accumulation_steps, self.team.size)
        steps_per_epoch = -(-len(batches) // share.passes)
        plan = settings.steps(steps_per_epoch)
        if self.team.size > 1:
            items, batches = shared_batches(packed, batches, share, rank=self.team.rank)
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        _logger.info("%d rows in %d %s, %d steps, %d trainable parameters, %s on %s, attention %s", len(self.rows),
                     len(items), "packs" if settings.packing else "padded rows", plan.total, trainable,
                     self.precision, self._where(), reason)  # fmt: skip
        needed = disk_needed(trainable, trainable, folds=1, parallel=1, checkpoints=plan.save is not None,
                             best=settings.load_best_model_at_end, keep_weights=True)  # fmt: skip
        check_disk(self.place, needed, unfinished=[self.place])
        arguments = sft_arguments(settings, plan, folder=self.place, precision=self.precision,
                                  cpu=self.team.device == "cpu", share=share)  # fmt: skip
        bar = tqdm(
            total=plan.total, desc="fine-tuning", unit="step", delay=2, disable=not (self.progress and self.team.main)
        )

        def report(done: int, total: int, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)
            if done >= total:
                bar.close()

        evaluation = eval_batches(self.held_out, settings) if self.held_out and settings.eval_strategy != "no" else None
        trainer = sft_trainer(model, arguments, settings, items=items, batches=batches, collate=collate,
                              evaluation=evaluation, report=report)  # fmt: skip
        trainer.steps_per_epoch = steps_per_epoch
        return trainer, reason

    def _attention(self, model: Any) -> tuple[str | None, str]:
        """The implementation of packed batches (None: padded), and words for the log."""
        if self.settings.packing:
            autocast = autocast_of(self.team.device, self.precision)
            choose = partial(choose_packed_attention, model, wanted=self.settings.attention, autocast=autocast)
            if not self.team.sharded:
                chosen = choose()
                return chosen.name, f"{chosen.name}: {chosen.reason}"
            name, reason = self.team.first(lambda: dataclasses.astuple(choose()))  # the others may have no weights yet
            model.set_attn_implementation(name)
            return name, f"{name}: {reason}"
        if self.settings.attention != "auto":
            model.set_attn_implementation(self.settings.attention)
        return None, f"{model.config._attn_implementation}, padded batches"

    def _where(self) -> str:
        together = f"{self.team.size} processes, " if self.team.size > 1 else ""
        return together + self.team.device

    def _fit(self, trainer: Any, trained: TrainedTo | None, attention: str) -> TrainedTo | None:
        begun = trained.step if trained else 0
        if trained is not None:
            _logger.info("going on from step %d", begun)
        torch, started = require("torch", extra="llm"), time.monotonic()
        trainer.train(resume_from_checkpoint=str(trained.folder) if trained is not None else None)
        self.team.wait()  # the others still write their random states into the last checkpoint
        seconds, newest = time.monotonic() - started, agreed_checkpoint(self.place, self.team)
        if newest is None:  # no checkpoints were asked for
            trainer.save_model(str(self.place / "model.partial"))
        tokens = self.rows.report.tokens * (trainer.state.global_step - begun) / trainer.steps_per_epoch
        if self.team.main:
            write_json(self.place / "training.json", {
                "seconds": round(seconds, 2),
                "tokens_per_second": round(tokens / seconds, 1),
                "attention": attention,
                "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None,
                "history": trainer.state.log_history,
            })  # fmt: skip
        return newest

    def _keep(self, trained: TrainedTo | None) -> None:
        """Move the chosen weights to their place; everything else that training left goes."""
        if trained is not None:
            state = read_json(trained.folder / "trainer_state.json")
            best = trained.best.name.rpartition("-")[2] if trained.best else None
            write_json(self.place / "history.json", {"history": state["log_history"], "steps": trained.step,
                                                     "best_step": int(best) if best else None})  # fmt: skip
        else:
            history = read_json(self.place / "training.json")["history"]
            last = max((entry["step"] for entry in history), default=0)
            write_json(self.place / "history.json", {"history": history, "steps": last, "best_step": None})
        chosen = self.place / "model.partial" if trained is None else trained.best or trained.folder
        chosen.replace(self.goal)

    def _finish(self) -> None:
        strip_checkpoint(self.goal)
        for rest in [*self.place.glob("checkpoint-*"), self.place / "model.partial"]:
            shutil.rmtree(rest, ignore_errors=True)
        self.base.add_companions(self.goal, is_adapter=self.lora is not None)
        kept, run = read_json(self.place / "history.json"), read_json(self.place / "run.json")
        history, timing = kept["history"], self.place / "training.json"
        measured = read_json(timing) if timing.is_file() else {}
        losses = [entry["loss"] for entry in history if "loss" in entry]
        evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
        write_json(self.goal / "sft.json", {**run, "template": self.settings.template, "steps": kept["steps"]})
        with contextlib.suppress(ModuleNotFoundError):  # matplotlib is an extra of its own
            save_loss_plot(history, self.place / "losses.png")
        write_json(self.place / "result.json", {
            "model_folder": self.goal.name,
            "is_adapter": self.lora is not None,
            "base": self.base.name,
            "template": self.settings.template,
            "steps": kept["steps"],
            "best_step": kept["best_step"],
            "train_loss": losses[-1] if losses else float("nan"),
            "eval_loss": min(evaluated, default=None),
            "history": history,
            "data": run["data"],
            "seconds": measured.get("seconds", 0.0),
            "tokens_per_second": measured.get("tokens_per_second"),
            "attention": measured.get("attention", ""),
            "peak_gib": measured.get("peak_gib"),
        })  # fmt: skip


def _rows_digest(rows: SftRows | None) -> str | None:
    if rows is None:
        return None
    return array_digest([array_digest(array) for pair in zip(rows.ids, rows.labels, strict=True) for array in pair])


def _free(trainer: Any) -> None:
    """Give the device's memory back."""
    trainer.model = trainer.model_wrapped = trainer.optimizer = trainer.lr_scheduler = None
    torch = require("torch", extra="llm")
    if torch.cuda.is_initialized():
        trainer.accelerator.free_memory()
        gc.collect()
        torch.cuda.empty_cache()

"""transformers' Trainer for fine-tuning: its arguments, its batches, its noise, and what it tells while it trains.

It promises that each token of an optimizer step counts the same (whichever pass it is in), that the evaluation loss is
the mean over tokens, and that one process trains on one device (plain ``python`` on two GPUs would otherwise become
``DataParallel``). It does not need trl. Of several processes each has its share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.training.kfold_settings import StepPlan
from kaggle_utils.training.lean_trainer import lean_trainer_class
from kaggle_utils.training.sft_batches import NOISE, PackedRows, SftCollator
from kaggle_utils.training.sft_packing import IGNORED
from kaggle_utils.training.sft_settings import SftSettings
from kaggle_utils.training.step_shares import Batches, StepShare, local_loader
from kaggle_utils.training.team import prepare_sharding
from kaggle_utils.training.trainer_arguments import shared_arguments
from kaggle_utils.training.trainer_progress import progress_callback

__all__ = ["sft_arguments", "sft_trainer"]


_SHOWN = {name: name for name in ("loss", "learning_rate", "grad_norm", "eval_loss")}


def sft_arguments(
    settings: SftSettings, plan: StepPlan, *, folder: Path, precision: str, cpu: bool, share: StepShare
) -> Any:
    """Return the ``TrainingArguments``."""
    arguments = require("transformers", extra="llm").TrainingArguments(
        **shared_arguments(settings, plan, folder=folder, precision=precision, cpu=cpu, share=share),
        # The best is taken from its checkpoint afterwards; here it is only noted which one that is.
        metric_for_best_model="eval_loss" if settings.load_best_model_at_end else None,
        greater_is_better=False if settings.load_best_model_at_end else None,
        seed=settings.seed,
    )
    if share.processes == 1 and arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def sft_trainer(
    model: Any,
    arguments: Any,
    settings: SftSettings,
    *,
    items: Any,
    batches: Batches,
    collate: SftCollator,
    evaluation: tuple[PackedRows, list[list[int]]] | None,
    report: Callable[[int, int, str], None],
) -> Any:
    """Return the Trainer.

    Args:
        model: on its device.
        arguments: of :func:`sft_arguments`.
        settings: of the run.
        items: packs or rows to train on, by what ``batches`` gives.
        batches: the order of this process's.
        collate: makes tensors of them.
        evaluation: items and batches of every evaluation, or None.
        report: is told (steps done, all steps, what was measured last).
    """
    transformers = require("transformers", extra="llm")
    trainer = _trainer_class()(
        model=model, args=arguments, data_collator=collate, train_dataset=items,
        eval_dataset=evaluation[0] if evaluation else None,
    )  # fmt: skip
    prepare_sharding(trainer)
    trainer.batches, trainer.eval_order = batches, evaluation[1] if evaluation else []
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(progress_callback(batches, arguments, report, shown=_SHOWN))
    if settings.early_stopping_patience is not None:
        trainer.add_callback(
            transformers.EarlyStoppingCallback(
                early_stopping_patience=settings.early_stopping_patience,
                early_stopping_threshold=settings.early_stopping_threshold,
            )
        )
    if settings.neftune_noise_alpha is not None:
        trainer.add_noise(settings.neftune_noise_alpha)
    return trainer


@cache
def _trainer_class() -> type:
    """Made on first use, because importing transformers takes seconds."""
    torch = require("torch", extra="llm")

    class SftTrainer(lean_trainer_class()):
        batches: Batches
        eval_order: list[list[int]]
        noise: Any = None

        def add_noise(self, alpha: float) -> None:
            def noisy(module, given, output):
                if not module.training or self.noise is None:
                    return output
                scale = self.noise.to(output.device) * (alpha / output.shape[-1] ** 0.5)
                return output + (torch.rand_like(output) * 2 - 1) * scale.unsqueeze(-1).to(output.dtype)

            self.model.get_input_embeddings().register_forward_hook(noisy)

        def get_train_dataloader(self) -> Any:
            return local_loader(self.accelerator, self._loader(self.train_dataset, self.batches))

        def _loader(self, items: PackedRows, batches: Any) -> Any:
            return torch.utils.data.DataLoader(
                items,
                batch_sampler=batches,
                collate_fn=self.data_collator,
                pin_memory=self.args.dataloader_pin_memory,
            )

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            self.noise = inputs.pop(NOISE, None)
            return super().compute_loss(
                model, {**inputs, "use_cache": False}, return_outputs, num_items_in_batch=num_items_in_batch
            )

        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            rank, world = self.args.process_index, self.args.world_size
            rounds = -(-len(self.eval_order) // world)  # the same for all: a sharded model computes together
            mine = [self.eval_order[min(rank + n * world, len(self.eval_order) - 1)] for n in range(rounds)]
            real = len(self.eval_order[rank::world])
            sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
            self.model.eval()
            with torch.no_grad():
                for number, batch in enumerate(self._loader(self.eval_dataset, mine)):
                    found = self._loss_sum(self._prepare_inputs(batch))
                    sums += found if number < real else 0
            sums = self.accelerator.reduce(sums)
            metrics = {f"{metric_key_prefix}_loss": (sums[0] / sums[1]).item()}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _loss_sum(self, inputs: dict[str, Any]) -> Any:
            """Sum of the tokens' losses, and how many they are."""
            count = (inputs["labels"] != IGNORED).sum()
            with self.compute_loss_context_manager():
                loss = self.compute_loss(self.model, inputs)
            return torch.stack([loss.double() * count if count else count.double(), count.double()])

    return SftTrainer

"""Fine-tuning in two processes, as under torchrun: one process's loss curve, and a folder that only one writes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
accelerate = pytest.importorskip("accelerate")

from processes import in_two_processes, shard_on_cpu  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sft_case import case_settings, run_case  # noqa: E402

from kaggle_utils.training.lora import LoraSettings  # noqa: E402
from kaggle_utils.training.sft_result import read_sft  # noqa: E402

LORA = LoraSettings(r=4, lora_dropout=0.0, target_modules=("q_proj", "v_proj", "down_proj"))
SETTINGS = case_settings(neftune_noise_alpha=None, eval_steps=4)  # 2 passes of one pack a step


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def train(rank, model, folder):
    """Trains, and calls again on the finished run."""
    for _ in range(2):
        assert run_case(model, folder, settings=SETTINGS, lora=LORA) == read_sft(folder), f"process {rank}"


def train_sharded(rank, model, folder):
    """Is interrupted in step 7 with half of the weights, and goes on from the checkpoint of step 4."""
    shard_on_cpu()
    plain, steps = accelerate.Accelerator.backward, iter(range(6))

    def backward(self, loss, **options):
        if next(steps, None) is None:
            raise InterruptedError("as by a user")
        plain(self, loss, **options)

    accelerate.Accelerator.backward = backward
    with pytest.raises(InterruptedError):
        run_case(model, folder, settings=SETTINGS, lora=None)
    shards = []

    def backward_of_shards(self, loss, **options):
        shards[:] = [parameter for group in self._optimizers[0].param_groups for parameter in group["params"]]
        plain(self, loss, **options)

    accelerate.Accelerator.backward = backward_of_shards
    run_case(model, folder, settings=SETTINGS, lora=None)
    here, all_of = sum(each.to_local().numel() for each in shards), sum(each.numel() for each in shards)
    assert here < 0.6 * all_of, (here, all_of)


def compare(model, folder, one, *, weights):
    two = read_sft(folder)
    for name, count in (("loss", 12), ("eval_loss", 3)):
        curves = [[entry[name] for entry in result.history if name in entry] for result in (one, two)]
        assert len(curves[0]) == count
        assert curves[1] == pytest.approx(curves[0], rel=1e-4), name
    assert (two.steps, two.best_step) == (one.steps, one.best_step)
    assert files(two.folder) == files(one.folder)
    tensors = [load_file(result.model_folder / weights) for result in (one, two)]
    assert tensors[0].keys() == tensors[1].keys()
    assert max((tensors[0][name] - tensors[1][name]).abs().max().item() for name in tensors[0]) < 1e-4
    log = (folder / "run.log").read_text()
    assert "on 2 processes, cpu" in log and log.count("step 12 of 12: loss") == 1  # one process writes
    return log


def test_two_processes_learn_what_one_learns_and_leave_what_one_leaves(tiny_llama, tmp_path):
    assert in_two_processes(train, tiny_llama, tmp_path / "two") == [0, 0]
    one = run_case(tiny_llama, tmp_path / "one", settings=SETTINGS, lora=LORA)
    compare(tiny_llama, tmp_path / "two", one, weights="adapter_model.safetensors")


def test_each_with_half_of_the_weights_they_learn_the_same_and_leave_the_same(tiny_llama, tmp_path):
    assert in_two_processes(train_sharded, tiny_llama, tmp_path / "two") == [0, 0]
    one = run_case(tiny_llama, tmp_path / "one", settings=SETTINGS, lora=None)
    log = compare(tiny_llama, tmp_path / "two", one, weights="model.safetensors")
    assert "going on from step 4" in log

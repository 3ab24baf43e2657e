"""Fine-tuning in two processes, as under torchrun: one process's loss curve, and a folder that only one writes."""

from __future__ import annotations

import multiprocessing
import os
import socket

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
accelerate = pytest.importorskip("accelerate")

from sft_case import case_settings, run_case  # noqa: E402

from kaggle_utils.training.lora import LoraSettings  # noqa: E402
from kaggle_utils.training.sft_result import read_sft  # noqa: E402

LORA = LoraSettings(r=4, lora_dropout=0.0, target_modules=("q_proj", "v_proj", "down_proj"))


def settings(*, processes):
    return case_settings(gradient_accumulation_steps=2 // processes, neftune_noise_alpha=None, eval_steps=6)


def one_of(rank, port, model, folder):
    """What torchrun starts: trains, and calls again on the finished run."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    accelerate.state.AcceleratorState._reset_state(True)  # what the forked process knew of itself
    for _ in range(2):
        result = run_case(model, folder, settings=settings(processes=2), lora=LORA)
        assert result == read_sft(folder), f"process {rank}"


def in_two_processes(model, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # torch and transformers are there already
    both = [context.Process(target=one_of, args=(rank, port, model, folder)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        process.kill()
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    return read_sft(folder)


def test_two_processes_learn_what_one_learns_and_leave_what_one_leaves(tiny_llama, tmp_path):
    import transformers  # noqa: F401 - before the fork

    torch.set_num_threads(1)
    two = in_two_processes(tiny_llama, tmp_path / "two")
    one = run_case(tiny_llama, tmp_path / "one", settings=settings(processes=1), lora=LORA)
    for name in ("loss", "eval_loss"):
        curves = [[entry[name] for entry in result.history if name in entry] for result in (one, two)]
        assert len(curves[0]) == (12 if name == "loss" else 2)
        assert curves[1] == pytest.approx(curves[0], rel=2e-3), name
    assert (two.steps, two.best_step) == (one.steps, one.best_step)
    left = [sorted(p.relative_to(r.folder) for p in r.folder.rglob("*") if p.is_file()) for r in (one, two)]
    assert left[0] == left[1]

"""Fine-tuning a real (small) model: it learns answers and their ends, survives a kill, and merges into what it was."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from safetensors.torch import load_file  # noqa: E402
from sft_case import HELD_OUT, ROWS, case_settings, run_and_die, run_case  # noqa: E402

from kaggle_utils.chat.generator import GenerationSettings  # noqa: E402
from kaggle_utils.chat.messages import user  # noqa: E402
from kaggle_utils.inference.generation import HFGenerator  # noqa: E402
from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.models.saving import quantize_and_save  # noqa: E402
from kaggle_utils.training import sft_merge  # noqa: E402
from kaggle_utils.training.kfold import RunMismatchError  # noqa: E402
from kaggle_utils.training.lora import LoraSettings  # noqa: E402
from kaggle_utils.training.sft import train_sft  # noqa: E402
from kaggle_utils.training.sft_merge import merge_and_save, push_to_hub  # noqa: E402
from kaggle_utils.training.sft_result import read_sft  # noqa: E402
from kaggle_utils.training.sft_settings import SftSettings  # noqa: E402


@pytest.fixture(scope="module")
def whole(tiny_llama, made_once):
    """The run that nothing interrupted; all workers of pytest-xdist share it."""
    return read_sft(made_once("sft-whole", lambda folder: run_case(tiny_llama, folder / "run")) / "run")


@pytest.fixture(scope="module")
def taught(tiny_llama, made_once):
    """A run long enough to know six answers by heart."""
    settings = SftSettings(
        max_length=192, num_train_epochs=60, gradient_accumulation_steps=1, learning_rate=1e-2, warmup_steps=5,
        lr_scheduler_type="constant_with_warmup", logging_steps=10, save_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    lora = LoraSettings(r=16, modules_to_save=("lm_head",))
    torch.set_num_threads(1)
    given = {"settings": settings, "lora": lora, "progress": False}
    teach = lambda folder: train_sft(tiny_llama, ROWS[:6], output_dir=folder / "run", **given)  # noqa: E731
    return read_sft(made_once("sft-taught", teach) / "run")


def weights(result):
    return load_file(result.model_folder / "adapter_model.safetensors")


def answers(folder, adapter=None):
    from peft import PeftModel

    model, tokenizer = load_causal_lm(folder, device_map="cpu")
    model = model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()
    asked = [[user(row["instruction"])] for row in ROWS[:6]]
    return HFGenerator(model, tokenizer).generate(asked, GenerationSettings(max_new_tokens=16))


def test_the_loss_falls_and_the_adapter_gives_the_answers_and_ends_them(taught, tiny_llama):
    losses = [entry["loss"] for entry in taught.history if "loss" in entry]
    assert losses[0] > 4 and losses[-1] < 0.2
    wanted = [row["output"] for row in ROWS[:6]]
    assert answers(tiny_llama, taught.model_folder) == wanted  # 16 tokens were allowed: the end was learnt too
    assert answers(tiny_llama) != wanted
    assert taught.eval_loss is None and taught.best_step is None and taught.attention.startswith("sdpa")


def test_a_merged_model_answers_like_base_and_adapter_and_needs_neither(taught, tiny_llama, tmp_path):
    report = merge_and_save(taught.model_folder, tiny_llama, tmp_path / "merged", device_map="cpu")
    assert report.adapter_effect > 1 and report.merge_difference < 1e-3 and report.reload_difference == 0
    assert answers(tmp_path / "merged") == [row["output"] for row in ROWS[:6]]
    assert not list((tmp_path / "merged").glob("adapter*"))
    with pytest.raises(FileExistsError):
        merge_and_save(taught.model_folder, tiny_llama, tmp_path / "merged")


def test_an_adapter_over_four_bits_is_merged_into_expanded_weights(tiny_llama, tmp_path):
    small = tmp_path / "nf4"
    quantize_and_save(tiny_llama, small, device_map="cpu")
    settings = case_settings(max_steps=6, eval_strategy="no", load_best_model_at_end=False, save_steps=6)
    result = run_case(small, tmp_path / "run", settings=settings, eval=None)
    report = merge_and_save(result.model_folder, small, tmp_path / "merged", device_map="cpu")
    assert report.adapter_effect > 20 * report.merge_difference
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    assert not (tmp_path / "merged" / "provenance.json").exists()  # it speaks of other weights


def test_a_merge_that_computes_something_else_leaves_no_folder(taught, tiny_llama, tmp_path, monkeypatch):
    calls = iter([torch.ones(1, 4), torch.ones(1, 4), torch.ones(1, 4), 2 * torch.ones(1, 4)])
    monkeypatch.setattr(sft_merge, "_probe", lambda model: next(calls))
    with pytest.raises(RuntimeError, match="loaded again, the folder differs by 1"):
        merge_and_save(taught.model_folder, tiny_llama, tmp_path / "merged", device_map="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_ends_with_the_same_adapter(whole, tiny_llama, tmp_path):
    run = tmp_path / "run"
    killed = multiprocessing.get_context("fork").Process(target=run_and_die, args=(tiny_llama, run))
    killed.start()  # a fork has torch and transformers already
    killed.join(250)
    assert killed.exitcode == -signal.SIGKILL
    there = {path.name for path in run.glob("checkpoint-*")}
    assert "checkpoint-8" in there and not (run / "adapter").exists()
    torn = run / "checkpoint-12"  # as if the kill had come while the next one was written
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    result = run_case(tiny_llama, run)
    before, after = weights(whole), weights(result)
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert "going on from step 8" in (run / "run.log").read_text()
    assert [e.get("loss", e.get("eval_loss")) for e in result.history] == [
        e.get("loss", e.get("eval_loss")) for e in whole.history
    ]
    assert {p.name for p in run.iterdir()} == {p.name for p in whole.folder.iterdir()}


def test_a_finished_run_is_only_read_and_another_is_refused(whole, tiny_llama, tmp_path):
    run = shutil.copytree(whole.folder, tmp_path / "run")
    stamp = (run / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert run_case(tiny_llama, run).history == whole.history
    assert (run / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(RunMismatchError, match=r"(?s)lora.r: was 4, is 8.*settings.learning_rate: was 0.005, is 0.001"):
        run_case(tiny_llama, run, settings=case_settings(learning_rate=1e-3), lora=LoraSettings(r=8))


def test_what_lies_beside_the_adapter(whole, tiny_llama):
    notes = json.loads((whole.model_folder / "sft.json").read_text())
    assert notes["identity"]["settings"]["neftune_noise_alpha"] == 5.0 and "peft" not in notes["identity"]
    assert notes["versions"]["transformers"] and notes["data"]["train"]["used"] == len(ROWS)
    assert (whole.model_folder / "tokenizer.json").read_bytes() == (tiny_llama / "tokenizer.json").read_bytes()
    assert (whole.folder / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert whole.best_step in (4, 8, 12) and whole.eval_loss == min(
        e["eval_loss"] for e in whole.history if "eval_loss" in e
    )
    assert not list(whole.folder.glob("checkpoint-*"))


def test_a_step_on_packs_is_the_step_on_padded_rows(tiny_llama, tmp_path):
    """All rows in one optimizer step: packing may change neither the loss nor the update."""
    same = {"max_steps": 2, "neftune_noise_alpha": None, "eval_steps": 2, "warmup_steps": 0}
    lora = LoraSettings(r=4, target_modules=("q_proj", "v_proj"))
    layouts = {
        "packed": {"packing": True, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        "padded": {"packing": False, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 4},
    }
    found = {
        name: run_case(tiny_llama, tmp_path / name, settings=case_settings(**same, **layout), lora=lora)
        for name, layout in layouts.items()
    }
    losses = {name: [e.get("loss", e.get("eval_loss")) for e in result.history] for name, result in found.items()}
    assert losses["packed"] == pytest.approx(losses["padded"], rel=1e-5)
    packed, padded = weights(found["packed"]), weights(found["padded"])
    for name in packed:
        torch.testing.assert_close(packed[name], padded[name], atol=2e-5, rtol=1e-2, msg=name)


def test_full_fine_tuning_of_a_model_in_memory_writes_a_whole_model(tiny_llama, tmp_path):
    model, tokenizer = load_causal_lm(tiny_llama, device_map="cpu")
    settings = case_settings(max_steps=2, optim="adamw_torch", gradient_checkpointing=True, eval_steps=2)
    result = train_sft(model, ROWS, output_dir=tmp_path, eval=HELD_OUT, settings=settings, tokenizer=tokenizer,
                       progress=False)  # fmt: skip
    assert not result.is_adapter and result.model_folder.name == "model"
    again, _ = load_causal_lm(result.model_folder, device_map="cpu")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(again.parameters(), load_causal_lm(tiny_llama)[0].parameters(), strict=True)
    )


def test_nothing_is_pushed_to_a_public_repository_by_default(tmp_path, monkeypatch):
    import huggingface_hub

    calls = []

    class Api:
        public = True

        def __init__(self, token=None):
            calls.append(token)

        def create_repo(self, repo_id, *, private, exist_ok):
            calls.append((repo_id, private))

        def model_info(self, repo_id):
            return type("Info", (), {"private": not self.public})

        def upload_folder(self, **given):
            calls.append(given["folder_path"])
            return "address"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(PermissionError, match="is public and nothing was uploaded"):
        push_to_hub(tmp_path, "me/adapter")
    assert calls == [None, ("me/adapter", True)]
    Api.public = False
    assert push_to_hub(tmp_path, "me/adapter", token="t") == "address" and calls[-1] == tmp_path

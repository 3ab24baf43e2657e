"""quantize_and_save: smaller, equal after loading again, and never half a folder."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("bitsandbytes")

from kaggle_utils.models import saving  # noqa: E402
from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.models.placement import empty_model  # noqa: E402
from kaggle_utils.models.saving import estimated_bytes, quantize_and_save  # noqa: E402

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def logits(folder, **options):
    with torch.inference_mode():
        return load_causal_lm(folder, device_map="cpu", dtype="float32", **options)[0](IDS).logits


@pytest.mark.parametrize(("quantization", "at_most"), [("int8", 0.63), ("nf4", 0.60), ("fp4", 0.60)])
def test_size_falls_and_the_reload_computes_what_the_quantised_original_computes(
    tiny_llama, tmp_path, quantization, at_most
):
    target = tmp_path / "small"
    report = quantize_and_save(tiny_llama, target, quantization=quantization, device_map="cpu")
    assert report.target_bytes < at_most * report.source_bytes
    assert report.target_bytes == (target / "model.safetensors").stat().st_size
    assert report.max_logit_difference == 0.0
    torch.testing.assert_close(logits(target), logits(tiny_llama, quantization=quantization), rtol=0, atol=0)


@pytest.mark.parametrize("double_quant", [True, False])
def test_the_scales_survive_with_and_without_double_quantisation(tiny_llama, tmp_path, double_quant):
    """Saved after a forward, bitsandbytes 0.50 writes wrong scales on some CPUs when double_quant is off."""
    report = quantize_and_save(tiny_llama, tmp_path / "small", double_quant=double_quant, device_map="cpu")
    assert report.max_logit_difference == 0.0


def test_the_folder_is_whole_and_its_report_says_where_it_came_from(tiny_llama, tmp_path):
    source = shutil.copytree(tiny_llama, tmp_path / "source")
    # Valid for the hub, refused by transformers when a model is saved with it: it must not stop us or get lost.
    settings = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 0]}
    (source / "generation_config.json").write_text(json.dumps(settings))
    (source / "LICENSE").write_text("terms")
    report = quantize_and_save(source, tmp_path / "small", dtype="float16", device_map="cpu")
    target = tmp_path / "small"
    for name in ("generation_config.json", "LICENSE", "tokenizer.json", "tokenizer_config.json"):
        assert (target / name).read_bytes() == (source / name).read_bytes(), name
    written = json.loads((target / "quantization_report.json").read_text())
    assert written["source"] == str(source) and written["dtype"] == "float16" == report.dtype
    assert len(written["source_config_sha256"]) == 64 and "bitsandbytes" in written["versions"]
    _, tokenizer = load_causal_lm(target)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)


def test_a_difference_after_the_reload_leaves_no_folder(tiny_llama, tmp_path, monkeypatch):
    calls = []

    def drifting(model):
        calls.append(model)
        return torch.ones(1, 8, 512) * (1.0 + 0.05 * len(calls))

    monkeypatch.setattr(saving, "_probe_logits", drifting)
    with pytest.raises(RuntimeError, match="was not kept: loaded again it differs"):
        quantize_and_save(tiny_llama, tmp_path / "small", device_map="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_folder(tiny_llama, tmp_path, monkeypatch):
    target = tmp_path / "small"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        quantize_and_save(tiny_llama, target, device_map="cpu")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving.shutil, "copyfile", fail)
        with pytest.raises(OSError, match="No space left"):
            quantize_and_save(tiny_llama, target, overwrite=True, device_map="cpu")
    assert [path.name for path in tmp_path.rglob("*")] == ["small", "old"]
    quantize_and_save(tiny_llama, target, overwrite=True, device_map="cpu")
    assert not (target / "old").exists() and (target / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_too_little_space_is_found_before_anything_is_loaded(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setattr(saving, "load_causal_lm", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(OSError, match=r"takes about 0\.07 GB, and 0\.00 GB are free"):
        quantize_and_save(tiny_llama, tmp_path / "small", device_map="cpu")


def test_the_estimate_is_a_little_above_the_truth(tiny_llama, tmp_path):
    for quantization in ("int8", "nf4"):
        report = quantize_and_save(tiny_llama, tmp_path / quantization, quantization=quantization, device_map="cpu")
        config = load_causal_lm(tiny_llama)[0].config
        estimate = estimated_bytes(empty_model(config), quantization=quantization, itemsize=4)
        # The files of so small a model are mostly headers; a real one's are not.
        assert 0.8 * report.target_bytes < estimate < 1.2 * report.target_bytes


def test_what_cannot_be_asked_for(tiny_llama, tmp_path):
    with pytest.raises(ValueError, match="would only copy"):
        quantize_and_save(tiny_llama, tmp_path / "a", quantization="none")
    quantize_and_save(tiny_llama, tmp_path / "small", device_map="cpu")
    with pytest.raises(ValueError, match="already quantised: bitsandbytes; start from the original"):
        quantize_and_save(tmp_path / "small", tmp_path / "b", quantization="int8")

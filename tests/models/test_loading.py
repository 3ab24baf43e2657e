"""load_causal_lm on real folders: what loads is what was saved, and what does not load is named."""

from __future__ import annotations

import json
import logging
import shutil
import threading

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from kaggle_utils.models.checkpoint import CheckpointError  # noqa: E402
from kaggle_utils.models.device_map import DeviceMapError  # noqa: E402
from kaggle_utils.models.loading import load_causal_lm  # noqa: E402

IDS = torch.tensor([[1, 5, 9, 20]])


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def edit_weights(folder, edit):
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


def test_what_loads_is_what_lies_there(tiny_llama, caplog):
    with caplog.at_level(logging.INFO, logger="kaggle_utils"):
        model, tokenizer = load_causal_lm(tiny_llama, device_map="cpu")
    assert model.dtype is torch.float32 and not model.training
    stored = load_file(tiny_llama / "model.safetensors")
    torch.testing.assert_close(model.state_dict()["lm_head.weight"], stored["lm_head.weight"])
    assert tokenizer("yes")["input_ids"]
    assert "torch.float32 (a CPU" in caplog.text, "the dtype and its reason must be in the log"


def test_the_dtype_asked_for_is_the_dtype_loaded(tiny_llama):
    assert load_causal_lm(tiny_llama, dtype="bfloat16", device_map="cpu")[0].dtype is torch.bfloat16


@pytest.mark.parametrize("quantization", ["int8", "nf4", "fp4"])
def test_quantised_on_load_it_still_computes_about_the_same(tiny_llama, quantization):
    pytest.importorskip("bitsandbytes")
    expected = logits(load_causal_lm(tiny_llama, device_map="cpu")[0])
    found = logits(load_causal_lm(tiny_llama, quantization=quantization, device_map="cpu")[0]).float()
    similarity = torch.nn.functional.cosine_similarity(expected.flatten(), found.flatten(), dim=0)
    assert 0.9 < similarity < 1.0, "1.0 would mean that nothing was quantised"


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_folder_that_is_already_quantised_loads_as_it_is(tiny_llama, tmp_path, quantization):
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    settings = {
        "int8": {"load_in_8bit": True},
        "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16},
    }
    made = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_llama, quantization_config=BitsAndBytesConfig(**settings[quantization]), device_map="cpu"
    )
    made.save_pretrained(tmp_path)
    for file in tiny_llama.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    model, _ = load_causal_lm(tmp_path, device_map="cpu")
    torch.testing.assert_close(
        logits(model), logits(load_causal_lm(tmp_path, quantization=quantization, device_map="cpu")[0])
    )
    if quantization == "nf4":  # the bfloat16 of the machine that wrote it must not be emulated here
        assert model.model.layers[0].mlp.up_proj.compute_dtype is torch.float32
    with pytest.raises(ValueError, match=f"already quantised as '{quantization}' and cannot be loaded as 'fp4'"):
        load_causal_lm(tmp_path, quantization="fp4")


def test_a_missing_and_an_unexpected_key_are_named(model):
    def rename(weights):
        weights["model.layers.1.mlp.upp_proj.weight"] = weights.pop("model.layers.1.mlp.up_proj.weight").clone()

    edit_weights(model, rename)
    with pytest.raises(CheckpointError) as caught:
        load_causal_lm(model, device_map="cpu")
    assert "would stay random): model.layers.1.mlp.up_proj.weight" in str(caught.value)
    assert "would be dropped): model.layers.1.mlp.upp_proj.weight" in str(caught.value)


def test_a_weight_of_another_shape_is_named(model):
    edit_weights(model, lambda weights: weights.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=r"of another shape.*model\.norm\.weight"):
        load_causal_lm(model, device_map="cpu")


def test_a_tied_head_is_no_missing_key(model):
    edit_weights(model, lambda weights: weights.pop("lm_head.weight"))
    edit_config(model, tie_word_embeddings=True)
    loaded, _ = load_causal_lm(model, device_map="cpu")
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_bin_weights_are_read_and_pickled_objects_are_not(model):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    loaded, _ = load_causal_lm(model, device_map="cpu")
    torch.testing.assert_close(loaded.state_dict()["lm_head.weight"], weights["lm_head.weight"])

    canary = model / "executed"

    class Hostile:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    torch.save({**weights, "extra": Hostile()}, model / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin .*pickled objects are refused"):
        load_causal_lm(model, device_map="cpu")
    assert not canary.exists()


def test_bin_weights_that_are_cut_are_named(model):
    weights, file = load_file(model / "model.safetensors"), model / "pytorch_model.bin"
    (model / "model.safetensors").unlink()
    torch.save(weights, file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"(?s)pytorch_model\.bin cannot be read: RuntimeError.*copy or download"):
        load_causal_lm(model, device_map="cpu")


def test_code_that_lies_in_the_folder_is_not_run(model):
    canary = model / "executed"
    (model / "configuration_mine.py").write_text(f"open({str(canary)!r}, 'w')\n")
    edit_config(model, model_type="mine", auto_map={"AutoConfig": "configuration_mine.MyConfig"})
    with pytest.raises(CheckpointError, match="is never run"):
        load_causal_lm(model, device_map="cpu")
    assert not canary.exists()


def test_nf4_on_a_cpu_that_cannot_is_refused_before_the_forward(tmp_path, tiny_llama, monkeypatch):
    pytest.importorskip("bitsandbytes")
    from kaggle_utils.models import quantization

    monkeypatch.setattr(quantization, "_packs_on_cpu", lambda: True)
    config = transformers.LlamaConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2, vocab_size=512
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    for file in tiny_llama.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(ValueError, match=r"multiples of 64.*q_proj \(48 -> 48\)"):
        load_causal_lm(tmp_path, quantization="nf4", device_map="cpu")


def test_a_device_map_that_does_not_fit_is_refused(tiny_llama):
    with pytest.raises(DeviceMapError, match="on no device: lm_head"):
        load_causal_lm(tiny_llama, device_map={"model": "cpu"})
    model, _ = load_causal_lm(tiny_llama, device_map={"model": "cpu", "lm_head": "cpu"})
    assert logits(model).shape == (1, 4, 512)


def test_two_threads_may_load_at_once(tiny_llama):
    """from_pretrained patches torch's initialisers while it runs; unserialised loads can leave them patched."""
    expected = logits(load_causal_lm(tiny_llama, device_map="cpu")[0])
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(logits(load_causal_lm(tiny_llama, device_map="cpu")[0])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for found in results:
        torch.testing.assert_close(found, expected)
    torch.manual_seed(0)
    assert torch.nn.Linear(8, 8).weight.std() > 0.05, "initialisers still patched"

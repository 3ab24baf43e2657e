"""What only a GPU can show. Run by hand: pytest -m gpu tests/models tests/inference."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.models.device_map import DeviceMapError  # noqa: E402
from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.models.precision import choose_dtype  # noqa: E402
from kaggle_utils.models.quantization import check_bitsandbytes  # noqa: E402
from kaggle_utils.models.saving import quantize_and_save  # noqa: E402

pytestmark = pytest.mark.gpu

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def logits(model):
    with torch.inference_mode():
        return model(IDS.to(model.get_input_embeddings().weight.device)).logits.float().cpu()


def test_the_dtype_is_one_that_this_gpu_computes():
    dtype, reason = choose_dtype(device="cuda")
    weakest = min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))
    assert dtype is (torch.bfloat16 if weakest >= (8, 0) else torch.float16), reason
    assert torch.cuda.get_device_name(0).split()[0] in reason


@pytest.mark.parametrize("device_map", ["auto", "even", "cuda", "cuda:0", 0])
def test_every_way_to_name_the_gpu_loads_there(tiny_llama, device_map):
    model, _ = load_causal_lm(tiny_llama, device_map=device_map)
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
    assert model.dtype is choose_dtype(device="cuda")[0]
    expected = logits(load_causal_lm(tiny_llama, device_map="cpu")[0])
    torch.testing.assert_close(logits(model), expected, atol=0.03, rtol=0.05)


def test_the_even_map_uses_every_gpu(tiny_llama):
    model, _ = load_causal_lm(tiny_llama, device_map="even")
    used = {str(layer.mlp.up_proj.weight.device) for layer in model.model.layers}
    assert len(used) == min(torch.cuda.device_count(), 2)


def test_a_map_over_gpu_and_cpu_computes_the_same(tiny_llama):
    placement = {
        "model.embed_tokens": 0,
        "model.rotary_emb": 0,
        "model.layers.0": 0,
        "model.layers.1": "cpu",
        "model.norm": "cpu",
        "lm_head": "cpu",
    }
    mixed = logits(load_causal_lm(tiny_llama, device_map=placement, dtype="float32")[0])
    torch.testing.assert_close(mixed, logits(load_causal_lm(tiny_llama, device_map="cpu")[0]), atol=1e-3, rtol=1e-3)


def test_a_gpu_too_many_is_refused(tiny_llama):
    with pytest.raises(DeviceMapError, match="no such device"):
        load_causal_lm(tiny_llama, device_map=f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("quantization", ["int8", "nf4", "fp4"])
def test_quantised_on_the_gpu_it_computes_about_the_same(tiny_llama, quantization):
    check_bitsandbytes("cuda")
    model, _ = load_causal_lm(tiny_llama, quantization=quantization)
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
    found, expected = logits(model).flatten(), logits(load_causal_lm(tiny_llama, device_map="cpu")[0]).flatten()
    assert 0.9 < torch.nn.functional.cosine_similarity(found, expected, dim=0) < 1.0


def test_nf4_takes_a_third_of_the_memory(tmp_path, tiny_llama):
    """On a model whose linear layers outweigh its embeddings, as a real one's do."""
    import shutil

    config = transformers.LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=8, num_attention_heads=16, vocab_size=512
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    for file in tiny_llama.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    sizes = {}
    for quantization in ("none", "nf4"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        model, _ = load_causal_lm(tmp_path, quantization=quantization, device_map="cuda:0")
        sizes[quantization] = torch.cuda.memory_allocated() - before
        assert logits(model).isfinite().all()
        del model
    assert sizes["nf4"] < sizes["none"] / 3


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_what_a_gpu_saved_loads_on_gpu_and_cpu(tiny_llama, tmp_path, quantization):
    report = quantize_and_save(tiny_llama, tmp_path / "small", quantization=quantization, device_map="cuda:0")
    assert report.target_bytes < 0.65 * report.source_bytes
    on_gpu = logits(load_causal_lm(tmp_path / "small", device_map="cuda:0")[0])
    on_cpu = logits(load_causal_lm(tmp_path / "small", device_map="cpu")[0])
    assert torch.nn.functional.cosine_similarity(on_gpu.flatten(), on_cpu.flatten(), dim=0) > 0.98

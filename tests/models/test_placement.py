"""Placement on real architectures, and a dispatch that accelerate really makes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.models import placement as placing  # noqa: E402
from kaggle_utils.models.device_map import DeviceMapError, validate_device_map  # noqa: E402
from kaggle_utils.models.placement import empty_model, even_map_of, plan_placement, weight_owners  # noqa: E402

SMALL = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 64}


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "Phi", "Phi3", "Qwen2", "Mistral", "GPTNeoX"])
def test_the_even_map_covers_every_module_of_real_architectures(kind):
    settings = {**SMALL, "pad_token_id": 0} if kind == "Phi3" else SMALL
    model = empty_model(getattr(transformers, f"{kind}Config")(**settings))
    placement = even_map_of(model, [0, 1])
    validate_device_map(placement, weight_owners(model), [0, 1])
    assert sorted(set(placement.values())) == [0, 1]


def test_a_tied_head_lies_with_the_embedding():
    model = empty_model(transformers.LlamaConfig(**SMALL, tie_word_embeddings=True))
    placement = even_map_of(model, [0, 1])
    assert placement["lm_head"] == placement["model.embed_tokens"] == 0
    assert placement["model.layers.1"] == 1


def test_a_model_dispatched_by_the_even_map_computes_the_same(tmp_path):
    """Two "devices" of a machine without GPU: the CPU, and the disk behind accelerate's hooks."""
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        expected = model(ids).logits
        placement = even_map_of(model, ["cpu", "offloaded"])
        real = {name: {"cpu": "cpu", "offloaded": "disk"}[place] for name, place in placement.items()}
        assert set(real.values()) == {"cpu", "disk"}
        dispatched = accelerate.dispatch_model(model, real, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
        assert next(dispatched.model.layers[2].parameters()).device.type == "meta"
        torch.testing.assert_close(dispatched(ids).logits, expected)


def test_without_a_gpu_auto_and_even_mean_the_cpu(monkeypatch):
    monkeypatch.setattr(placing, "visible_devices", lambda: ["cpu"])

    def no_skeleton():
        raise AssertionError("not needed")

    assert plan_placement("auto", skeleton=no_skeleton) == ({"": "cpu"}, "cpu")
    assert plan_placement("even", skeleton=no_skeleton) == ({"": "cpu"}, "cpu")


def test_with_two_gpus(monkeypatch):
    monkeypatch.setattr(placing, "visible_devices", lambda: [0, 1, "cpu"])
    config = transformers.LlamaConfig(**SMALL)
    assert plan_placement("auto", skeleton=lambda: empty_model(config)) == ("auto", "cuda")
    placement, device = plan_placement("even", skeleton=lambda: empty_model(config))
    assert placement["model.layers.0"] == 0 and placement["model.layers.2"] == 1 and device == "cuda"
    assert plan_placement(1, skeleton=lambda: empty_model(config)) == ({"": 1}, "cuda:1")
    assert plan_placement("cuda", skeleton=lambda: empty_model(config)) == ({"": "cuda:0"}, "cuda:0")
    mixed = {"model": 0, "lm_head": "cpu"}
    assert plan_placement(mixed, skeleton=lambda: empty_model(config)) == (mixed, "cuda:0")


def test_a_map_with_gaps_is_refused_before_weights_are_read(monkeypatch):
    monkeypatch.setattr(placing, "visible_devices", lambda: [0, "cpu"])
    config = transformers.LlamaConfig(**SMALL)
    with pytest.raises(DeviceMapError, match="on no device: lm_head"):
        plan_placement({"model": 0}, skeleton=lambda: empty_model(config))
    with pytest.raises(DeviceMapError, match="no such device: cuda:1 \\(for the whole model\\)"):
        plan_placement("cuda:1", skeleton=lambda: empty_model(config))


def test_a_model_without_one_list_of_layers_says_so():
    model = empty_model(transformers.LlamaConfig(**SMALL))
    model.config.num_hidden_layers = 7
    with pytest.raises(ValueError, match="no list of 7 layers in LlamaForCausalLM"):
        even_map_of(model, [0])

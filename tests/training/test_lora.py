"""LoRA on named modules: every name matches, only the adapter learns, 4-bit weights stay as they are."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.training.lora import LoraSettings, attach_lora  # noqa: E402


@pytest.fixture
def model(tiny_llama):
    return load_causal_lm(tiny_llama, device_map="cpu", dtype="bfloat16")[0]


def test_names_that_match_nothing_are_an_error_that_lists_what_is_there(model):
    wrong = LoraSettings(target_modules=("q_prj", "v_proj"), modules_to_save=("lm_heads",))
    with pytest.raises(ValueError, match="cannot be put on LlamaForCausalLM") as caught:
        attach_lora(model, wrong)
    for text in (
        "'q_prj', which matches nothing (did you mean 'q_proj'?)",
        "'lm_heads'",
        "down_proj x 2, gate_proj x 2",
    ):
        assert text in str(caught.value)
    assert not hasattr(model, "peft_config")  # peft would have put it on v_proj and said nothing


def test_only_the_adapter_and_whole_modules_are_trained_in_float32_and_the_seed_decides_them(model, tiny_llama):
    settings = LoraSettings(r=4, target_modules=("v_proj",), modules_to_save=("lm_head",), use_rslora=True)
    state = torch.random.get_rng_state()
    attached = attach_lora(model, settings, seed=7)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained = {name: p for name, p in attached.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert sum("v_proj.lora_" in name for name in trained) == 4 and sum("lm_head" in name for name in trained) == 1
    assert len(trained) == 5 and attached.base_model.model.model.layers[0].self_attn.v_proj.scaling["default"] == 16.0
    again = attach_lora(load_causal_lm(tiny_llama, device_map="cpu", dtype="bfloat16")[0], settings, seed=7)
    other = attach_lora(load_causal_lm(tiny_llama, device_map="cpu")[0], settings, seed=8)
    name = next(name for name in trained if "lora_A" in name)
    assert torch.equal(again.get_parameter(name), trained[name])
    assert not torch.equal(other.get_parameter(name), trained[name])


def test_all_linear_leaves_the_head_out_also_over_four_bits(tiny_llama):
    quantised = load_causal_lm(tiny_llama, quantization="nf4", device_map="cpu", dtype="float32")[0]
    attached = attach_lora(quantised, LoraSettings(r=2))
    layers = {name.partition(".lora_A")[0] for name, _ in attached.named_parameters() if ".lora_A" in name}
    assert len(layers) == 14 and not any("lm_head" in name for name in layers)


def test_settings_that_cannot_work_are_named_at_once():
    with pytest.raises(
        ValueError, match=r"(?s)r is 0.*lora_dropout is 1.*target_modules is \(\).*quantization is 'nf3'"
    ):
        LoraSettings(r=0, lora_dropout=1, target_modules=(), quantization="nf3")

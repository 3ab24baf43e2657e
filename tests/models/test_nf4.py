"""Folded 4-bit layers give what bitsandbytes and peft give, and refuse what they would get wrong."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
bitsandbytes = pytest.importorskip("bitsandbytes")
pytest.importorskip("peft")

from tiny_classifiers import adapted, write_tiny_classifier  # noqa: E402

from kaggle_utils.models.nf4 import expand_layers, fold_nf4  # noqa: E402

IDS = torch.tensor([[5, 9, 40, 77, 3, 0, 12]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("nf4")
    return {family: write_tiny_classifier(base / family, family) for family in ("llama", "gemma2", "qwen2")}


def quantised(folder, *, kind="nf4", double=True, dtype=torch.float32, device="cpu"):
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=["score"],
    )  # fmt: skip
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, quantization_config=settings, device_map={"": device}, dtype=dtype
    ).eval()


def logits(model):
    with torch.no_grad():
        return model(IDS.to(next(model.parameters()).device)).logits.float().cpu()


def folded(model):
    return sum(type(m).__name__ == "FoldedLinear4bit" for m in model.modules())


@pytest.mark.parametrize(("kind", "double"), [("nf4", True), ("nf4", False), ("fp4", True)])
@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2"])
def test_without_an_adapter_it_is_the_expanded_layer(folders, family, kind, double):
    model = quantised(folders[family], kind=kind, double=double)
    assert fold_nf4(model) == 14 == folded(model)
    plain = quantised(folders[family], kind=kind, double=double)
    plain.dequantize()
    torch.testing.assert_close(logits(model), logits(plain), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2"])
def test_with_an_adapter_it_is_the_forward_of_peft_and_bitsandbytes(folders, family):
    reference = adapted(quantised(folders[family])).get_base_model()
    bare = quantised(folders[family])
    expected, without = logits(reference), logits(bare)
    model = adapted(quantised(folders[family])).get_base_model()
    assert fold_nf4(model) == 14 == folded(model)
    found = logits(model)
    # bitsandbytes' own CPU kernel rounds to bfloat16 inside, so its forward is the noisy one here.
    assert (found - expected).abs().max() < 0.1 * (expected - without).abs().max()
    exact = quantised(folders[family])
    exact.dequantize()
    torch.testing.assert_close(found, logits(adapted(exact).get_base_model()), atol=1e-4, rtol=1e-3)


def test_a_disabled_adapter_is_left_out(folders):
    wrapped = adapted(quantised(folders["llama"]), task_type=None)
    wrapped.base_model.disable_adapter_layers()
    fold_nf4(wrapped.get_base_model())
    plain = quantised(folders["llama"])
    fold_nf4(plain)
    torch.testing.assert_close(logits(wrapped.get_base_model()), logits(plain))


def test_dropout_of_an_adapter_is_off(folders):
    model = adapted(quantised(folders["llama"]), lora_dropout=0.5).get_base_model()
    fold_nf4(model)
    torch.testing.assert_close(logits(model), logits(model), atol=0, rtol=0)


def test_a_plain_model_has_nothing_to_fold(folders):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders["llama"])
    assert fold_nf4(model) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_computes_in_the_dtype_it_was_loaded_with(folders, dtype):
    model = quantised(folders["llama"], dtype=dtype)
    fold_nf4(model)
    layer = model.model.layers[0].mlp.up_proj
    assert layer(torch.randn(2, 3, 64, dtype=dtype)).dtype is dtype and layer.expanded().shape == (128, 64)


def test_what_cannot_be_folded_is_refused_and_left_alone(folders):
    model = adapted(quantised(folders["llama"]), use_dora=True).get_base_model()
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj has a DoRA adapter"):
        fold_nf4(model)
    assert folded(model) == 0


def test_weights_repacked_by_a_forward_on_this_cpu_are_refused(folders):
    model = quantised(folders["llama"])
    logits(model)
    if not getattr(model.model.layers[0].mlp.up_proj.weight.quant_state, "packing_format_for_cpu", False):
        pytest.skip("this CPU does not repack 4-bit weights")
    with pytest.raises(ValueError, match="fold before the first one"):
        fold_nf4(model)


@pytest.mark.parametrize("fold_first", [False, True])
def test_expanded_layers_are_plain_ones_with_the_adapter_in_them(folders, fold_first):
    model = adapted(quantised(folders["llama"])).get_base_model()
    if fold_first:
        fold_nf4(model)
    exact = quantised(folders["llama"])
    exact.dequantize()
    expected = logits(adapted(exact).get_base_model())
    assert expand_layers(model, dtype=torch.float32) == 14
    assert type(model.model.layers[1].mlp.down_proj) is torch.nn.Linear
    torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-3)


def test_int8_layers_are_expanded_too(folders):
    settings = transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["score"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folders["qwen2"], quantization_config=settings, device_map={"": "cpu"}
    ).eval()
    exact = logits(transformers.AutoModelForSequenceClassification.from_pretrained(folders["qwen2"]))
    assert expand_layers(model, dtype=torch.float32) == 14
    assert 0 < (logits(model) - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_gpu_folded_is_the_forward_of_peft_and_bitsandbytes(folders, dtype):
    reference = adapted(quantised(folders["llama"], dtype=dtype, device="cuda")).get_base_model()
    expected, bare = logits(reference), logits(quantised(folders["llama"], dtype=dtype, device="cuda"))
    model = adapted(quantised(folders["llama"], dtype=dtype, device="cuda")).get_base_model()
    assert fold_nf4(model) == 14
    assert (logits(model) - expected).abs().max() < 0.1 * (expected - bare).abs().max()

"""fp8 layers: how far rounding may go, and which layers are changed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import adapted, tiny_classifier  # noqa: E402

from kaggle_utils.models.fp8 import fp8_supported, to_fp8  # noqa: E402
from kaggle_utils.models.fp8_mlp import fuse_gated_mlps, gated_operator  # noqa: E402
from kaggle_utils.models.fp8_rows import E4M3_MAX, quantize_rows  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_round_trip_stays_within_the_rounding_of_e4m3(dtype, scale):
    """Three mantissa bits: a sixteenth of the value, or half the smallest step (2**-10) of the row's own scale."""
    torch.manual_seed(0)
    matrix = (torch.randn(64, 96) * scale).to(dtype)
    values, scales = quantize_rows(matrix)
    assert values.dtype is torch.float8_e4m3fn and values.shape == matrix.shape
    assert scales.dtype is torch.float32 and scales.shape == (64, 1)
    error = (values.float() * scales - matrix.float()).abs()
    bound = torch.maximum(matrix.float().abs() / 16, scales * 2**-10)
    assert (error <= bound * 1.01).all()


def test_the_largest_number_of_a_row_uses_the_whole_range():
    values, scales = quantize_rows(torch.tensor([[1.0, -4.0, 2.0], [1e-6, 0.0, 5e-7]]))
    assert values.float().abs().amax(dim=1).tolist() == [E4M3_MAX, E4M3_MAX]
    torch.testing.assert_close(scales.flatten(), torch.tensor([4.0, 1e-6]) / E4M3_MAX)


def test_rows_of_zeros_and_extremes_stay_finite():
    matrix = torch.tensor([[0.0, 0.0], [3e38, -3e38], [1e-38, 0.0]])
    values, scales = quantize_rows(matrix)
    back = values.float() * scales
    assert back.isfinite().all()
    torch.testing.assert_close(back, matrix, atol=1e-12, rtol=0.07)


@pytest.mark.parametrize(
    ("capability", "supported"),
    [((7, 5), False), ((8, 0), False), ((8, 6), False), ((8, 9), True), ((9, 0), True), ((12, 0), True), (None, False)],
)
def test_which_devices_have_it(capability, supported):
    assert fp8_supported(capability) is supported


def kinds(model):
    return {name: type(module).__name__ for name, module in model.named_modules() if name.endswith("proj")}


def test_the_layers_change_and_head_and_embedding_do_not():
    model = tiny_classifier("llama").to(torch.bfloat16)
    before = sum(p.numel() * p.element_size() for n, p in model.named_parameters() if "proj" in n)
    changed = to_fp8(model)
    assert len(changed) == 14 and set(kinds(model).values()) == {"Float8Linear"}
    assert type(model.score) is torch.nn.Linear and model.model.embed_tokens.weight.dtype is torch.bfloat16
    after = sum(b.numel() * b.element_size() for n, b in model.named_buffers() if n.endswith("proj.weight"))
    assert after == before / 2


def test_keep_leaves_layers_as_they_are():
    model = tiny_classifier("gemma2").to(torch.bfloat16)
    changed = to_fp8(model, keep=[r"down_proj$", r"layers\.0\.self_attn"])
    left = {name for name, kind in kinds(model).items() if kind == "Linear"}
    assert left == {
        "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj",
        *(f"model.layers.0.self_attn.{p}_proj" for p in "qkvo"),
    }  # fmt: skip
    assert not left & set(changed) and len(left) + len(changed) == 14


def test_a_pattern_that_matches_nothing_is_refused_and_nothing_changes():
    model = tiny_classifier("llama").to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"keep=\['doan_proj'\] matches no layer; .*q_proj"):
        to_fp8(model, keep=["up_proj", "doan_proj"])
    assert set(kinds(model).values()) == {"Linear"}


def test_a_model_with_an_unmerged_adapter_is_refused():
    model = adapted(tiny_classifier("llama").to(torch.bfloat16)).get_base_model()
    with pytest.raises(ValueError, match="merge='merged'"):
        to_fp8(model)
    assert "Float8Linear" not in {type(m).__name__ for m in model.modules()}


def test_biases_are_kept():
    model = tiny_classifier("qwen2").to(torch.bfloat16)
    expected = model.model.layers[0].self_attn.q_proj.bias.detach().clone()
    to_fp8(model)
    torch.testing.assert_close(model.model.layers[0].self_attn.q_proj.bias, expected)


@pytest.mark.parametrize("gelu", [True, False])
def test_the_operator_is_activation_times_up_in_e4m3(gelu):
    gate, up = torch.randn(2, 6, 40, dtype=torch.bfloat16)
    activation = torch.nn.functional.gelu(gate.float(), approximate="tanh") if gelu else gate.float().sigmoid() * gate
    values, scales = gated_operator()(gate, up, gelu)
    assert values.dtype is torch.float8_e4m3fn and scales.shape == (6, 1)
    error = (values.float() * scales - activation * up.float()).abs()
    assert (error <= (activation * up).abs().float() / 16 + scales * 2**-9).all()


def test_without_the_kernel_mlps_stay_as_they_are():
    model = tiny_classifier("gemma2").to(torch.bfloat16)
    to_fp8(model)
    assert fuse_gated_mlps(model) == 0
    assert not any("forward" in vars(layer.mlp) for layer in model.model.layers)


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_on_a_gpu_fused_mlps_give_what_the_layers_give(family):
    if not fp8_supported(torch.cuda.get_device_capability()):
        pytest.skip("this GPU has no fp8")
    model = tiny_classifier(family, hidden_size=256, intermediate_size=512).to("cuda", torch.bfloat16)
    x = torch.randn(1, 37, 256, device="cuda", dtype=torch.bfloat16)
    to_fp8(model)
    mlp = model.model.layers[0].mlp
    assert "forward" in vars(mlp), "the kernel does not work here: see the log"
    with torch.no_grad():
        fused, plain = mlp(x), type(mlp).forward(mlp, x)
    assert (fused - plain).abs().max() < 0.05 * plain.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2"])
def test_on_a_gpu_it_computes_about_the_same(family):
    import numpy as np

    from kaggle_utils.models.packed import PackedClassifier

    if not fp8_supported(torch.cuda.get_device_capability()):
        pytest.skip("this GPU has no fp8")
    rows = [np.random.default_rng(n).integers(1, 512, n) for n in (1, 7, 33, 200)]
    model = tiny_classifier(family, hidden_size=256, intermediate_size=512).to("cuda", torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(4)
    scorer = PackedClassifier(model)
    expected = scorer.score(rows)
    to_fp8(model)
    found = scorer.score(rows)
    assert np.isfinite(found).all()
    assert 0 < np.abs(found - expected).max() < 0.3 * np.abs(expected).max() + 0.05

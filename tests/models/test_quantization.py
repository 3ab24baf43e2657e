"""Names of schemes, and what bitsandbytes can do on this machine."""

from __future__ import annotations

import sys
import types

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("bitsandbytes")

from kaggle_utils.models import quantization  # noqa: E402
from kaggle_utils.models.placement import empty_model  # noqa: E402
from kaggle_utils.models.quantization import check_bitsandbytes, quantization_config, unfit_layers  # noqa: E402


def test_the_names_become_the_right_settings():
    assert quantization_config("none", compute_dtype=torch.float16) is None
    assert quantization_config("int8", compute_dtype=torch.float16).load_in_8bit
    nf4 = quantization_config("nf4", compute_dtype=torch.float16)
    assert nf4.load_in_4bit and nf4.bnb_4bit_quant_type == "nf4" and nf4.bnb_4bit_use_double_quant
    assert nf4.bnb_4bit_compute_dtype is torch.float16
    assert quantization_config("fp4", compute_dtype=torch.float16, double_quant=False).bnb_4bit_quant_type == "fp4"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown quantization 'int4'; expected one of none, int8, nf4, fp4"):
        quantization_config("int4", compute_dtype=torch.float16)


def test_bitsandbytes_works_here():
    check_bitsandbytes("cpu")


def test_an_absent_bitsandbytes_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModuleNotFoundError, match=r"kaggle-notebook-utils\[llm\]"):
        check_bitsandbytes()


def test_a_broken_bitsandbytes_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("libbitsandbytes_cuda128.so: cannot open shared object file")

    broken = types.SimpleNamespace(__version__="0.50", functional=types.SimpleNamespace(quantize_4bit=fail))
    monkeypatch.setitem(sys.modules, "bitsandbytes", broken)
    with pytest.raises(RuntimeError, match=r"cannot quantise on 'cpu'.*cannot open shared object.*quantization='none'"):
        check_bitsandbytes()


@pytest.mark.parametrize(("packs", "expected"), [(True, 14), (False, 0)])
def test_shapes_that_the_cpu_kernel_refuses_are_found_only_where_it_runs(monkeypatch, packs, expected):
    """Hidden size 48 fails on CPUs with AVX512-BF16, inside the first forward, with a bare reshape error."""
    monkeypatch.setattr(quantization, "_packs_on_cpu", lambda: packs)
    config = transformers.LlamaConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, vocab_size=64
    )
    assert len(unfit_layers(empty_model(config), quantization="nf4")) == expected
    assert unfit_layers(empty_model(config), quantization="int8") == []


def test_our_shape_rule_is_the_kernels(monkeypatch):
    """Runs the real kernel on shapes on both sides of the rule; where it has no limit the rule must be off."""
    import bitsandbytes

    for inner, outer in [(64, 32), (64, 48), (96, 64), (128, 96)]:
        layer = torch.nn.Linear(inner, outer, bias=False)
        quantized = bitsandbytes.nn.Linear4bit(inner, outer, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        quantized.load_state_dict(layer.state_dict())
        quantized = quantized.to("cpu").eval()
        try:
            with torch.inference_mode():
                quantized(torch.ones(2, inner))
            works = True
        except (AssertionError, RuntimeError):
            works = False
        assert works == (not unfit_layers(torch.nn.Sequential(layer), quantization="nf4")), (inner, outer)

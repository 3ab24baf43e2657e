"""The estimate against real bytes: parameters of real classes, quantised layers, and every tensor of a real forward."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
from peak_memory import PeakMemory  # noqa: E402
from tiny_classifiers import FAMILIES, tiny_classifier, write_tiny_classifier  # noqa: E402

from kaggle_utils.models.memory import MemoryEstimate, estimate_memory  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402
from kaggle_utils.models.shapes import model_shapes  # noqa: E402

GEMMA = {
    "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336,
    "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
    "attn_logit_softcapping": 50.0,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
DEBERTA = {
    "model_type": "deberta-v2", "vocab_size": 128100, "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "relative_attention": True, "position_buckets": 256,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "position_biased_input": False,
    "max_relative_positions": -1, "max_position_embeddings": 512, "type_vocab_size": 0,
}  # fmt: skip
BERT = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip


def tensor_bytes(model):
    return sum(t.numel() * t.element_size() for t in [*model.parameters()])


@pytest.mark.parametrize(
    ("family", "changes"),
    [*((family, {}) for family in FAMILIES), ("llama", {"attention_bias": True, "mlp_bias": True}),
     ("qwen3", {"attention_bias": True}), ("gemma2", {"num_labels": 2}),
     ("deberta-v2", {"share_att_key": False, "position_biased_input": True, "type_vocab_size": 2}),
     ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu", "pos_att_type": ["c2p"], "share_att_key": False}),
     ("deberta-v2", {"relative_attention": False, "position_biased_input": True})],
)  # fmt: skip
def test_parameters_are_counted_exactly(family, changes):
    model = tiny_classifier(family, **changes)
    config = json.loads(model.config.to_json_string(use_diff=True))
    assert model_shapes(config).parameters == sum(p.numel() for p in model.parameters())
    estimate = estimate_memory(config, quantization="none", dtype="float32", pack_tokens=64)
    assert estimate.weights == tensor_bytes(model)


@pytest.mark.parametrize("family", ["gemma2", "llama", "mistral", "qwen2", "qwen3"])
def test_fields_that_an_old_config_leaves_out_are_filled_as_transformers_does(family):
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = {**{key: FAMILIES[family][key] for key in (*sizes, "num_key_value_heads")}, "model_type": family}
    made = transformers.AutoConfig.for_model(**config, num_labels=3)
    with torch.device("meta"):
        model = transformers.AutoModelForSequenceClassification.from_config(made)
    assert model_shapes(config, num_labels=3).parameters == sum(p.numel() for p in model.parameters())


def packed_bytes(model):
    """Weights with the scales that bitsandbytes keeps beside them."""
    total = tensor_bytes(model)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if (state := getattr(weight, "quant_state", None)) is not None:
            total += sum(
                t.numel() * t.element_size()
                for t in (state.absmax, getattr(state.state2, "absmax", None))
                if t is not None
            )
        if getattr(weight, "SCB", None) is not None:
            total += weight.SCB.numel() * weight.SCB.element_size()
    return total


@pytest.mark.parametrize("quantization", ["int8", "nf4", "fp4"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "deberta-v2"])
def test_quantised_weights_within_five_percent(tmp_path, family, quantization):
    pytest.importorskip("bitsandbytes")
    from kaggle_utils.models.classifier import load_sequence_classifier

    write_tiny_classifier(tmp_path, family, hidden_size=256, intermediate_size=512, num_hidden_layers=3)
    model = load_sequence_classifier(tmp_path, quantization=quantization).model
    estimate = estimate_memory(tmp_path, quantization=quantization, dtype="float32", pack_tokens=64)
    assert estimate.weights == pytest.approx(packed_bytes(model), rel=0.05)


def test_an_adapter_on_every_matrix_is_counted_exactly():
    from tiny_classifiers import adapted

    model = tiny_classifier("llama")
    config = model.config.to_dict()
    wrapped = adapted(model, r=8, target_modules="all-linear", task_type=None, modules_to_save=None)
    lora = sum(p.numel() * 4 for n, p in wrapped.named_parameters() if ".lora_" in n and ".score." not in n)
    with_lora, without = (
        estimate_memory(config, quantization="none", dtype="float32", pack_tokens=64, lora_rank=rank).weights
        for rank in (8, 0)
    )
    assert with_lora - without == lora


def gb(config, **options):
    return estimate_memory(config, pack_tokens=8192, **options)


def test_published_sizes():
    assert gb(GEMMA, quantization="none", dtype="bfloat16").weights == pytest.approx(18.5e9, rel=0.01)
    assert 6e9 < gb(GEMMA, quantization="nf4", dtype="float16").weights < 7e9
    assert gb(LLAMA, quantization="int8", dtype="float16", path="causal").total == pytest.approx(9e9, rel=0.05)
    assert gb(DEBERTA, quantization="none", dtype="float32").weights == pytest.approx(435e6 * 4, rel=0.01)
    assert gb(BERT, quantization="none", dtype="float32").weights == pytest.approx(109.5e6 * 4, rel=0.01)


def test_what_an_h100_measured():
    """GiB while scoring packs of 8,192 tokens, adapter of rank 16; the flex and the mask-free path."""
    merged = gb(GEMMA, quantization="nf4", dtype="bfloat16", path="flex", merged=True, lora_rank=16)
    adapter = gb(GEMMA, quantization="nf4", dtype="bfloat16", path="flex", lora_rank=16)
    padded = gb(LLAMA, quantization="nf4", dtype="float16", path="causal")
    for estimate, measured in ((merged, 18.2), (adapter, 6.7), (padded, 5.5)):
        assert estimate.total / 2**30 == pytest.approx(measured, rel=0.07)


@pytest.mark.parametrize(
    ("config", "rows", "longest"),
    [(GEMMA, 4, 2048), (GEMMA, 16, 512), (LLAMA, 4, 2048), (LLAMA, 64, 128), (BERT, 16, 512), (DEBERTA, 16, 512),
     (DEBERTA, 4, 2048)],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_activations_of_a_real_forward_at_real_widths(config, rows, longest, monkeypatch):
    """Two layers of the real model on tensors without storage, every one counted."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    # DeBERTa is estimated as padded layers take it, the most it can need; packed ones ask tensors for their values.
    monkeypatch.setattr("kaggle_utils.models.packed.packable", lambda model: False)

    small = {**config, "num_hidden_layers": 2}
    made = transformers.AutoConfig.for_model(**small, num_labels=3, pad_token_id=0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cpu"):
            model = transformers.AutoModelForSequenceClassification.from_config(made, dtype=torch.bfloat16)
        scorer = PackedClassifier(model)
        with PeakMemory() as peak:
            scorer.launch([np.ones(longest, np.int64)] * rows)
    options = {"quantization": "none", "dtype": "bfloat16", "pack_tokens": rows * longest, "longest": longest}
    assert 0.99 <= estimate_memory(small, **options).activations / peak.bytes <= 1.35


def test_peak_memory_counts_what_lives_at_once():
    """The instrument itself: three tensors of 4,000 bytes, two of them at once."""
    with PeakMemory() as peak:
        first = torch.ones(1000)
        second = first + 1
        view = second[:500]
        del first
        third = second * 2
    assert peak.bytes == 8000 and view.numel() + third.numel() == 1500


def test_more_of_anything_takes_more():
    base = {"quantization": "nf4", "dtype": "float16", "pack_tokens": 8192}
    least = estimate_memory(GEMMA, **base)
    larger = {"dtype": "float32", "pack_tokens": 16384, "lora_rank": 64, "merged": True, "quantization": "int8"}
    for more in ({key: value} for key, value in larger.items()):
        assert estimate_memory(GEMMA, **{**base, **more}).highest > least.highest, more
    assert estimate_memory(GEMMA, **base, compiled=True).activations < least.activations
    flex, ragged = (estimate_memory(GEMMA, **base, path=path).activations for path in ("flex", "ragged"))
    assert flex < ragged < least.activations
    assert estimate_memory(GEMMA, **base, longest=512).activations < least.activations


def test_fp8_as_an_h100_measured():
    """10.4 GiB while scoring compiled packs of 8,192 tokens; while loading, the whole model lies there in bfloat16."""
    estimate = gb(GEMMA, quantization="fp8", dtype="bfloat16", path="flex", compiled=True)
    assert estimate.total / 2**30 == pytest.approx(10.4, rel=0.07)
    assert estimate.peak_while_loading >= gb(GEMMA, quantization="none", dtype="bfloat16").weights
    stored = {**GEMMA, "quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}
    assert gb(stored, quantization="fp8", dtype="bfloat16").weights == estimate.weights


def test_fp8_weights_are_counted_exactly():
    from kaggle_utils.models.fp8 import to_fp8

    model = tiny_classifier("gemma2").to(torch.bfloat16)
    config = model.config.to_dict()
    to_fp8(model)
    held = [*model.parameters(), *(b for n, b in model.named_buffers() if n.endswith(("proj.weight", "proj.scale")))]
    estimate = estimate_memory(config, quantization="fp8", dtype="bfloat16", pack_tokens=64)
    assert estimate.weights == sum(t.numel() * t.element_size() for t in held)


@pytest.mark.parametrize("stages", [2, 3, 5])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_the_fullest_stage_of_a_pipeline_is_counted_exactly(family, stages):
    from kaggle_utils.models.pipeline import stage_map

    model = tiny_classifier(family, num_hidden_layers=5)
    owners = stage_map(5, [str(i) for i in range(stages)])
    held = dict.fromkeys(map(str, range(stages)), 0)
    for name, parameter in model.named_parameters():
        owner = next(place for key, place in owners.items() if name.startswith(f"{key}."))
        held[owner] += parameter.numel() * 4
    options = {"quantization": "none", "dtype": "float32", "pack_tokens": 64}
    estimate = estimate_memory(model.config.to_dict(), stages=stages, **options)
    assert estimate.weights == max(held.values())
    assert estimate.activations == estimate_memory(model.config.to_dict(), **options).activations


def test_a_9b_model_in_float16_fits_two_cards_of_15_gib_and_not_one():
    options = {"quantization": "none", "dtype": "float16", "path": "ragged"}
    assert gb(GEMMA, **options).total > 15 * 2**30 > 13 * 2**30 > gb(GEMMA, **options, stages=2).highest


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="a bert model cannot be cut into 2 stages"):
        gb(BERT, quantization="none", dtype="float16", stages=2)
    with pytest.raises(ValueError, match="43 stages for 42 layers"):
        gb(GEMMA, quantization="none", dtype="float16", stages=43)
    with pytest.raises(ValueError, match="stages=0"):
        gb(GEMMA, quantization="none", dtype="float16", stages=0)


def test_folded_4_bit_layers_are_counted_exactly(tmp_path):
    pytest.importorskip("bitsandbytes")
    from kaggle_utils.models.classifier import load_sequence_classifier
    from kaggle_utils.models.nf4 import fold_nf4

    write_tiny_classifier(tmp_path, "llama", hidden_size=256, intermediate_size=512)
    model = load_sequence_classifier(tmp_path, quantization="nf4").model
    fold_nf4(model)
    held = tensor_bytes(model) + sum(
        b.numel() * b.element_size() for n, b in model.named_buffers() if n.endswith((".packed", ".scales"))
    )
    estimate = estimate_memory(tmp_path, quantization="nf4", dtype="float32", pack_tokens=64, folded=True)
    assert estimate.weights == pytest.approx(held, rel=0.01)


def test_totals():
    estimate = MemoryEstimate(weights=10, activations=5, peak_while_loading=12)
    assert (estimate.total, estimate.highest) == (15, 15)
    assert MemoryEstimate(10, 5, 20).highest == 20


@pytest.mark.parametrize(
    ("stored", "like"),
    [({"load_in_8bit": True}, "int8"),
     ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, "nf4")],
)  # fmt: skip
def test_a_folder_that_is_already_quantised_is_estimated_as_it_is(stored, like):
    found = gb({**LLAMA, "quantization_config": stored}, quantization="none", dtype="float16")
    assert found == gb(LLAMA, quantization=like, dtype="float16")


def test_from_a_folder_a_file_and_a_mapping(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    expected = gb(LLAMA, quantization="nf4", dtype="float16")
    assert gb(tmp_path, quantization="nf4", dtype="float16") == expected
    assert gb(tmp_path / "config.json", quantization="nf4", dtype="float16") == expected
    with pytest.raises(FileNotFoundError, match="no config at"):
        gb(tmp_path / "nowhere", quantization="nf4", dtype="float16")


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ValueError) as caught:
        estimate_memory(LLAMA, quantization="int3", dtype="float8", pack_tokens=0, path="fast")
    for words in ("'int3'", "'float8'", "pack_tokens=0", "'fast'"):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match=r"'gptq'"):
        gb({**LLAMA, "quantization_config": {"quant_method": "gptq"}}, quantization="none", dtype="float16")
    with pytest.raises(ValueError, match=r"model_type 'mixtral' are not known; known are gemma2, llama"):
        gb({**LLAMA, "model_type": "mixtral"}, quantization="none", dtype="float16")
    with pytest.raises(ValueError, match=r"hidden_size is None, num_hidden_layers is 'many'"):
        gb({**LLAMA, "hidden_size": None, "num_hidden_layers": "many"}, quantization="none", dtype="float16")


def test_it_needs_no_torch():
    code = "import sys, kaggle_utils.models.memory; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

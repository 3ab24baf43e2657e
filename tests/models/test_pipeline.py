"""A model cut into stages gives the numbers of the whole one, and everything a stage reads lies on its device."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier  # noqa: E402

from kaggle_utils.models.attention import AttentionPath  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402
from kaggle_utils.models.pipeline import split_layers, stage_devices, stage_map, stage_starts  # noqa: E402

LENGTHS = [21, 1, 13, 8, 9, 40]


def rows_of(lengths=LENGTHS):
    random = np.random.default_rng(0)
    return [random.integers(0, 512, n) for n in lengths]


def packed(model, path, **options):
    return PackedClassifier(model, path=AttentionPath(path, "a test"), max_tokens=128, **options)


@pytest.mark.parametrize(("path", "stages"), [("causal", 2), ("causal", 3), ("flex", 2), ("ragged", 3)])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_stages_give_the_logits_of_the_whole_model(family, path, stages):
    model, rows = tiny_classifier(family, num_hidden_layers=3), rows_of()
    expected = packed(model, path).score(rows)
    assert split_layers(model, ["cpu"] * stages) == stage_starts(3, stages)
    np.testing.assert_array_equal(packed(model, path).score(rows), expected)


@pytest.mark.parametrize("path", ["causal", "ragged"])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_everything_that_a_stage_reads_is_handed_over(family, path):
    """The second stage lies on tensors without storage: an operand left behind on the CPU is an error there."""
    model = tiny_classifier(family, num_hidden_layers=4)
    split_layers(model, ["cpu", "meta"])
    scorer = packed(model, path)
    logits = scorer.launch(rows_of())
    assert scorer.device.type == "cpu" and logits.device.type == "meta" and logits.host.shape == (6, 3)
    assert [layer.mlp.up_proj.weight.device.type for layer in model.model.layers] == ["cpu", "cpu", "meta", "meta"]
    assert model.model.norm.weight.device.type == model.score.weight.device.type == "meta"


def test_what_layers_share_is_copied_once_a_pack():
    """Two packs through three layers of one stage: each object is moved twice, not six times, and nothing is kept."""
    from kaggle_utils.models import pipeline

    model = tiny_classifier("gemma2", num_hidden_layers=6)
    split_layers(model, ["cpu", "meta"])
    copied = []
    original = pipeline._on
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_on", lambda v, *a: copied.append(type(v).__name__) or original(v, *a))
        scorer = packed(model, "ragged")
        scorer.launch(rows_of())
        first = copied.count("tuple")
        scorer.launch(rows_of()[::-1])
    assert (first, copied.count("tuple")) == (1, 2), "the rotary tables of a pack"
    assert not model.model.layers[3]._stage._copies


def test_a_block_mask_moves_with_what_its_function_captured():
    from kaggle_utils.models.block_mask import document_block_mask
    from kaggle_utils.models.pipeline import _on

    mask = document_block_mask([100, 200], 384, device="cpu")
    moved = _on(mask, torch.device("meta"), torch.device("cpu"))
    assert {cell.cell_contents.device.type for cell in moved.mask_mod.__closure__} == {"meta"}
    assert moved.kv_num_blocks.device.type == moved.kv_indices.device.type == "meta"
    assert mask.mask_mod.__closure__[0].cell_contents.device.type == "cpu", "the first stage still needs its own"
    same = _on(mask, torch.device("cpu"), torch.device("cpu"))
    index = torch.arange(384)
    assert torch.equal(same.mask_mod(0, 0, index, index[:1]), mask.mask_mod(0, 0, index, index[:1]))


def test_tensors_for_the_host_stay_there():
    """The ragged path reads where rows end on the host, whatever device the stage is on."""
    from kaggle_utils.models.pipeline import _on

    ends, table = torch.tensor([3, 5]), torch.ones(2)
    moved = _on({"ends": ends, "tables": [table, table]}, torch.device("meta"), torch.device("cpu"))
    assert {part.device.type for part in (moved["ends"], *moved["tables"])} == {"meta"}
    assert _on((ends,), torch.device("cuda:1"), torch.device("cuda:0"))[0] is ends


def test_layers_keep_their_names_and_kind_and_compile_below_the_handover():
    model = tiny_classifier("llama", num_hidden_layers=4)
    names, kind = [name for name, _ in model.named_modules()], type(model.model.layers[0])
    split_layers(model, ["cpu", "cpu"])
    assert [name for name, _ in model.named_modules()] == names
    assert all(isinstance(layer, kind) for layer in model.model.layers)
    assert type(model.model.layers[2]) is type(model.model.layers[3]) is not kind
    assert {type(layer).__name__ for layer in model.model.layers} == {kind.__name__}
    expected = packed(tiny_classifier("llama", num_hidden_layers=4), "causal").score(rows_of())
    graphs = []
    with pytest.MonkeyPatch.context() as patch:  # what Module.compile stores, without a compiler
        patch.setattr(torch, "compile", lambda call, **_: lambda *a, **k: graphs.append(call) or call(*a, **k))
        scorer = packed(model, "causal", compile=True)
    np.testing.assert_array_equal(scorer.score(rows_of()), expected)
    assert [graph.__func__ for graph in graphs] == [torch.nn.Module._call_impl] * 4
    assert [graph.__self__ for graph in graphs] == list(model.model.layers)
    scorer.use("plain")
    np.testing.assert_array_equal(scorer.score(rows_of()), expected)
    assert len(graphs) == 4


def test_cut_again_it_is_cut_as_the_second_says():
    model, rows = tiny_classifier("llama", num_hidden_layers=4), rows_of()
    kind, expected = type(model.model.layers[0]), packed(model, "causal").score(rows)
    for stages, plain in ((2, 2), (4, 1), (1, 4)):
        split_layers(model, ["cpu"] * stages)
        np.testing.assert_array_equal(packed(model, "causal").score(rows), expected)
        assert sum(type(layer) is kind for layer in model.model.layers) == plain


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="3 stages for 2 layers"):
        split_layers(tiny_classifier("llama"), ["cpu"] * 3)
    with pytest.raises(ValueError, match=r"Bert.* cannot be cut into stages"):
        split_layers(tiny_classifier("bert"), ["cpu", "cpu"])
    for text in ("", "cuda:0,", "cuda:0,cpu"):
        with pytest.raises(ValueError, match="is no pipeline"):
            stage_devices(text)


def test_the_map_for_loading_agrees_with_the_cut():
    model = tiny_classifier("gemma2", num_hidden_layers=5)
    split_layers(model, ["cpu", "meta"])
    placed = stage_map(5, ["cpu", "meta"])
    for name, parameter in model.named_parameters():
        owner = next(key for key in placed if name.startswith(f"{key}."))
        assert parameter.device.type == placed[owner], name
    assert {name.rpartition(".")[0] for name in placed if "layers" in name} == {"model.layers"}


def test_it_needs_no_torch_to_plan():
    code = "import sys, kaggle_utils.models.pipeline as p; p.stage_map(2, ['a', 'b']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# On a GPU: pytest -m gpu tests/models/test_pipeline.py

GPU_SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}


def gpu_model(family):
    wide = {"head_dim": 64} if family == "gemma2" else {}
    model = tiny_classifier(family, **GPU_SIZES, **wide)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(4)
    return model.to("cuda:0", torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [["cuda:0", "cuda:0"], ["cuda:0", "cuda:1"]], ids=["one", "two"])
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("path", ["flex", "ragged", "causal", "varlen"])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_on_gpus_stages_give_the_logits_of_the_whole_model(family, path, compile, devices):
    if torch.cuda.device_count() < 2 and "cuda:1" in devices:
        pytest.skip("needs two GPUs")
    if path == "varlen" and family == "gemma2":
        pytest.skip("varlen has no soft-cap")
    model, rows = gpu_model(family), rows_of([70, 1, 30, 127])
    expected = packed(model, path, compile=compile).score(rows)
    split_layers(model, devices)
    scorer = packed(model, path, compile=compile)
    np.testing.assert_allclose(scorer.score(rows), expected, atol=2e-2, rtol=2e-2)
    first, second = scorer.launch(rows), scorer.launch(rows[::-1])  # two packs on the way at once
    assert str(first.device) == devices[-1]
    np.testing.assert_allclose(scorer.collect(first), expected, atol=2e-2, rtol=2e-2)
    np.testing.assert_allclose(scorer.collect(second)[::-1], expected, atol=2e-2, rtol=2e-2)


@pytest.mark.gpu
def test_a_launch_returns_before_the_second_gpu_is_done():
    """Both devices have work at once: two packs take clearly less than twice one pack's time."""
    import time

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    model = tiny_classifier("llama", hidden_size=4096, intermediate_size=14336, num_hidden_layers=8,
                            num_attention_heads=32, num_key_value_heads=8).to(torch.bfloat16)  # fmt: skip
    split_layers(model, ["cuda:0", "cuda:1"])
    scorer = PackedClassifier(model, max_tokens=8192)
    pack = rows_of([1024] * 8)
    for _ in range(2):
        scorer.score(pack)
    started = time.perf_counter()
    for _ in range(8):
        scorer.score(pack)
    alone = time.perf_counter() - started
    started, running = time.perf_counter(), []
    for _ in range(8):
        running.append(scorer.launch(pack))
        if len(running) > 2:
            scorer.collect(running.pop(0))
    for launched in running:
        scorer.collect(launched)
    assert time.perf_counter() - started < 0.75 * alone

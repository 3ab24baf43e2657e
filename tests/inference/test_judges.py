"""Judges from folders: what is "auto" is settled before the fingerprint, and each is placed where it fits."""

from __future__ import annotations

import dataclasses
import json
import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from safetensors.numpy import save_file  # noqa: E402
from tiny_classifiers import adapted, tiny_classifier, write_tiny_classifier  # noqa: E402

from kaggle_utils.data.pairs import read_pairs  # noqa: E402
from kaggle_utils.data.tokenization import PairTokenizer  # noqa: E402
from kaggle_utils.inference.judges import bfloat16_scorer, folder_judge, packed_scorer, place_judges  # noqa: E402
from kaggle_utils.inference.placement import ModelNeed, PlacementError  # noqa: E402
from kaggle_utils.inference.scoring import score_pairs  # noqa: E402
from kaggle_utils.models.rooms import DeviceRoom  # noqa: E402

GIB = 1 << 30
T4S = [DeviceRoom("cuda:0", 15 * GIB, (7, 5)), DeviceRoom("cuda:1", 15 * GIB, (7, 5))]
H100 = [DeviceRoom("cuda:0", 80 * GIB, (9, 0))]
SHAPES = {
    "gemma": {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336,
              "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256},
    "llama": {"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
              "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
    "deberta": {"model_type": "deberta-v2", "vocab_size": 128100, "hidden_size": 1024, "intermediate_size": 4096,
                "num_hidden_layers": 24, "num_attention_heads": 16},
    "phi": {"model_type": "phi3"},
}  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Folders with the real shapes in their config.json; nothing of them is ever loaded."""
    folders = {}
    for name, config in SHAPES.items():
        folders[name] = folder = tmp_path_factory.mktemp("large") / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text("{}")
        save_file({"weight": np.zeros(4096, np.float32)}, folder / "model.safetensors")
    return folders


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folders that load, and an adapter for the Llama."""
    base = tmp_path_factory.mktemp("tiny")
    folders = {family: write_tiny_classifier(base / family, family) for family in ("gemma2", "llama")}
    adapted(tiny_classifier("llama")).save_pretrained(base / "adapter")
    return {**folders, "adapter": base / "adapter"}


def judge(folder, *, name="judge", devices=T4S, **options):
    return folder_judge(name, folder, None, devices=devices, **options)


def settled(made):
    return tuple(made.spec.kwargs[key] for key in ("quantization", "dtype", "merge"))


@pytest.mark.parametrize(
    ("model", "devices", "quantization", "expected"),
    [
        ("gemma", T4S, "nf4", ("nf4", "float16", "unmerged")),
        ("gemma", H100, "nf4", ("nf4", "bfloat16", "merged")),
        ("gemma", T4S, "none", ("none", "float16", "merged")),
        ("llama", [*H100, T4S[1]], "int8", ("int8", "float16", "unmerged")),
        ("llama", [DeviceRoom("cpu", 64 * GIB)], "none", ("none", "float32", "merged")),
        ("llama", [DeviceRoom("cpu", 8 * GIB)], "nf4", ("nf4", "float32", "unmerged")),
        ("phi", H100, "nf4", ("nf4", "bfloat16", "unmerged")),
        ("gemma", H100, "fp8", ("fp8", "bfloat16", "merged")),
    ],
)
def test_what_auto_means_follows_from_the_devices(large, model, devices, quantization, expected):
    assert settled(judge(large[model], devices=devices, quantization=quantization)) == expected


def test_what_auto_means_is_part_of_the_fingerprint(large):
    """The same call on another machine must not go on with the results of this one."""
    on_t4s, on_h100 = (judge(large["gemma"], devices=d, quantization="nf4") for d in (T4S, H100))
    assert on_t4s.spec.fingerprint != on_h100.spec.fingerprint
    assert on_t4s.spec.fingerprint == judge(large["gemma"], devices=T4S[:1], quantization="nf4").spec.fingerprint
    named = judge(large["gemma"], devices=H100, quantization="nf4", dtype="fp16", merge="unmerged")
    assert named.spec.fingerprint == on_t4s.spec.fingerprint, "the numbers are the same, whoever chose them"
    named = judge(large["gemma"], devices=H100, quantization="nf4", dtype="bfloat16", merge="merged")
    assert named.spec.fingerprint == on_h100.spec.fingerprint
    others = [{"quantization": "int8"}, {"quantization": "none"}, {"quantization": "nf4", "compile": True},
              {"quantization": "fp8"}, {"quantization": "fp8", "keep": ["down_proj$"]}]  # fmt: skip
    prints = [judge(large["gemma"], devices=H100, **changes).spec.fingerprint for changes in others]
    assert len({*prints, on_t4s.spec.fingerprint, on_h100.spec.fingerprint}) == len(prints) + 2


def test_memory_that_happens_to_be_free_does_not_matter(large, monkeypatch):
    from kaggle_utils.models import merging

    first = judge(large["gemma"], devices=H100, quantization="nf4")
    monkeypatch.setattr(merging, "free_memory", lambda device: 0)
    assert judge(large["gemma"], devices=H100, quantization="nf4").spec == first.spec


@pytest.mark.parametrize("devices", [T4S, [*H100, T4S[1]], [DeviceRoom("cpu", 64 * GIB)]])
def test_fp8_is_refused_before_anything_is_loaded(large, devices, monkeypatch):
    words = r"fp8' needs GPUs of compute capability 8\.9 .* (cuda:\d \(capability 7\.5\)|cpu \(no known GPU\)).*'nf4'"
    with pytest.raises(ValueError, match=words):
        judge(large["gemma"], devices=devices, quantization="fp8")


def test_fp8_is_refused_by_a_worker_whose_device_has_none(tiny, monkeypatch):
    from kaggle_utils.models import classifier

    monkeypatch.setattr(classifier, "load_sequence_classifier", lambda *a, **k: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=r"cpu \(no known GPU\)"):
        packed_scorer(device="cpu,cpu", folder=tiny["llama"], quantization="fp8", dtype="bfloat16", merge="merged")


def test_contradictions_are_named_together(large):
    with pytest.raises(ValueError, match=r"'deberta-v2'.*merge is 'unmerged'.*dtype is 'float16'"):
        judge(large["deberta"], devices=H100, quantization="fp8", merge="unmerged", dtype="float16")
    with pytest.raises(ValueError, match=r"keep=\['down'\] .* quantization='fp8'"):
        judge(large["gemma"], devices=H100, keep=["down"])
    with pytest.raises(ValueError, match="unknown merge policy 'both'"):
        judge(large["gemma"], merge="both")


def test_rows_that_overflow_in_fp8_get_the_weights_it_was_made_from(tiny):
    kwargs = {"folder": tiny["llama"], "quantization": "fp8", "keep": ["down"], "dtype": "bfloat16", "merge": "merged",
              "compile": "auto"}  # fmt: skip
    scorer = bfloat16_scorer(None, device="cuda:0", **kwargs)
    assert scorer.device.type == "cpu" and scorer.model.dtype is torch.bfloat16
    assert type(scorer.model.model.layers[0].mlp.up_proj) is torch.nn.Linear


# Placement


def plan(large, names, devices, **options):
    placement = options.pop("placement", "auto")
    made = [judge(large[name], name=name, devices=devices, **options) for name in names]
    return place_judges(made, devices=devices, placement=placement)


@pytest.mark.parametrize(
    ("names", "devices", "quantization", "expected"),
    [
        (["gemma", "llama"], T4S, "nf4", ("model-per-device", ("cuda:0", "cuda:1"), (("gemma",), ("llama",)))),
        (["gemma"], T4S, "nf4", ("copies", ("cuda:0", "cuda:1"), (("gemma",), ("gemma",)))),
        (["gemma"], T4S, "none", ("pipeline", ("cuda:0,cuda:1",), (("gemma",),))),
        (["gemma", "llama"], T4S, "none", ("pipeline", ("cuda:0,cuda:1",), (("gemma", "llama"),))),
        (["gemma", "llama"], T4S[:1], "int8", ("in-turn", ("cuda:0",), (("gemma", "llama"),))),
        (["gemma", "llama"], H100, "none", ("copies", ("cuda:0",), (("gemma", "llama"),))),
        (["deberta", "gemma"], T4S, "nf4", ("model-per-device", ("cuda:0", "cuda:1"), (("deberta",), ("gemma",)))),
    ],
)
def test_placements_of_the_real_shapes(large, names, devices, quantization, expected):
    found = plan(large, names, devices, quantization=quantization)
    assert (found.placement.name, found.devices, found.placement.orders) == expected
    assert found.devices == found.placement.devices
    text = found.to_text()
    assert expected[0] in text and found.placement.reason in text and f"{names[0]}: {quantization}, " in text


def test_a_device_that_is_done_early_helps_beside_its_own_model_where_both_fit(large):
    for gib, beside in ((16, True), (10, False)):  # 8.0 and 6.1 GiB alone, 13.2 together
        cards = [dataclasses.replace(card, memory_bytes=gib * GIB) for card in T4S]
        found = plan(large, ["gemma", "llama"], cards, quantization="nf4")
        assert found.placement.name == "model-per-device"
        assert [j.spec.fits_beside for j in found.judges] == [beside] * 2
        assert ("beside its own" in found.placement.reason) is beside


def test_the_reason_is_logged(large, caplog):
    with caplog.at_level(logging.INFO, logger="kaggle_utils"):
        plan(large, ["gemma"], T4S, quantization="none")
    assert (
        "gemma needs 18" in caplog.text and "2 stages" in caplog.text and "float16, since cuda:0, cuda:1" in caplog.text
    )


def test_a_judge_that_fits_nowhere(large):
    with pytest.raises(PlacementError, match=r"gemma needs 1\d\.\d GiB .*cuda:0 4\.\d GiB usable of 5"):
        plan(large, ["gemma"], [DeviceRoom("cuda:0", 5 * GIB, (7, 5))], quantization="int8")
    with pytest.raises(PlacementError, match="deberta needs"):  # an encoder cannot be cut
        plan(large, ["deberta"], [dataclasses.replace(card, memory_bytes=2 * GIB) for card in T4S])


def test_sizes_of_other_judges_must_be_given(large):
    made = judge(large["gemma"], quantization="nf4")
    foreign = dataclasses.replace(made, spec=dataclasses.replace(made.spec, name="own", factory=print))
    with pytest.raises(ValueError, match=r"sizes of \['own'\] are not known"):
        place_judges([made, foreign], devices=T4S)
    found = place_judges([made, foreign], devices=T4S, needs={"own": ModelNeed("own", GIB, GIB)})
    assert found.placement.orders == (("judge",), ("own",))


def test_a_family_that_is_not_known_is_guessed_from_its_files(large, caplog):
    found = plan(large, ["phi"], T4S)
    assert found.placement.name == "copies" and "model_type 'phi3' is not known" in caplog.text


# Whole runs on the CPU


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["red", "blue", "is", "larger", "no"], n)) for n in rng.integers(1, 30, 36)]
    cells = {"id": list(range(12)), "prompt": texts[:12], "response_a": texts[12:24], "response_b": texts[24:]}
    return read_pairs(cells)


def reader(folder, max_length=64):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return PairTokenizer(tokenizer, style="llama", max_length=max_length, truncation="proportional")


def test_a_pipeline_scores_what_one_device_does(tiny, table):
    """Placed by name on two "devices", with an adapter; two packs are on their way at a time."""
    made = [folder_judge("llama", tiny["llama"], reader(tiny["llama"]), adapter=tiny["adapter"], devices=["cpu"]),
            folder_judge("gemma", tiny["gemma2"], reader(tiny["gemma2"]), devices=["cpu"])]  # fmt: skip
    found = {}
    for name, devices in (("in-turn", ["cpu"]), ("pipeline", ["cpu", "cpu"])):
        chosen = place_judges(made, devices=devices, placement=name)
        scores = score_pairs(table, chosen.judges, devices=chosen.devices, placement=chosen.placement,
                             workers="threads", max_tokens=150, progress=False)  # fmt: skip
        assert scores.missing == [] and list(scores.reports[0].devices) == list(chosen.devices)
        found[name] = scores.probabilities
    np.testing.assert_allclose(found["pipeline"], found["in-turn"], atol=1e-6)


def test_quantised_judges_without_an_adapter_are_expanded_where_there_is_room(tiny):
    pytest.importorskip("bitsandbytes")
    roomy = folder_judge("llama", tiny["llama"], None, quantization="nf4", devices=["cpu"])
    scorer = roomy.spec.factory(device="cpu", **roomy.spec.kwargs)
    assert type(scorer.model.model.layers[0].mlp.up_proj) is torch.nn.Linear
    small = folder_judge("llama", tiny["llama"], None, quantization="nf4", devices=[DeviceRoom("cpu", 1000)])
    scorer = small.spec.factory(device="cpu", **small.spec.kwargs)
    assert type(scorer.model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"


# On a GPU: pytest -m gpu tests/inference/test_judges.py


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """As initialised by transformers, so that half precision is a small error."""
    folders = {}
    for family in ("gemma2", "llama"):
        folder = write_tiny_classifier(tmp_path_factory.mktemp("wide") / family, family)
        model = tiny_classifier(family, hidden_size=256, intermediate_size=512, num_hidden_layers=4, head_dim=64)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.div_(4)
        model.save_pretrained(folder)
        folders[family] = folder
    return folders


ROWS = [np.random.default_rng(n).integers(1, 500, n) for n in (70, 1, 33, 200)]


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"quantization": "fp8"}, {"quantization": "fp8", "keep": ["down_proj$"]}, {"quantization": "nf4"},
     {"quantization": "nf4", "merge": "unmerged"}, {"quantization": "int8", "merge": "unmerged"},
     {"dtype": "float16", "quantization": "nf4", "merge": "unmerged"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("device", ["cuda:0", "cuda:0,cuda:0", "cuda:0,cuda:1"])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_every_precision_on_a_gpu_is_near_the_exact_logits(wide, family, device, options, compile):
    from kaggle_utils.models.fp8 import fp8_supported

    if torch.cuda.device_count() < 2 and "cuda:1" in device:
        pytest.skip("needs two GPUs")
    if options.get("quantization") == "fp8" and not fp8_supported(torch.cuda.get_device_capability()):
        pytest.skip("this GPU has no fp8")
    exact = folder_judge("exact", wide[family], None, devices=["cpu"])
    expected = exact.spec.factory(device="cpu", **exact.spec.kwargs).score(ROWS)
    made = folder_judge("judge", wide[family], None, devices=device.split(",")[:1], compile=compile, **options)
    scorer = made.spec.factory(device=device, **made.spec.kwargs)
    found = scorer.score(ROWS)
    assert np.isfinite(found).all()
    kept = [type(layer.mlp.down_proj).__name__ for layer in scorer.model.model.layers]
    if options.get("keep"):
        assert set(kept) == {"Linear"} and type(scorer.model.model.layers[3].mlp.up_proj).__name__ == "Float8Linear"
    if options.get("merge") == "unmerged" and options["quantization"] == "nf4":
        assert set(kept) == {"FoldedLinear4bit"}
    loose = 0.6 if "quantization" in options else 0.05
    assert np.abs(found - expected).max() < loose * np.abs(expected).max() + 0.05

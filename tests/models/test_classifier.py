"""load_sequence_classifier on real folders: what loads is what was saved, and what does not load is named."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_classifiers import FAMILIES, adapted, tiny_classifier, write_tiny_classifier  # noqa: E402

from kaggle_utils.models import classifier, merging  # noqa: E402
from kaggle_utils.models.adapters import read_adapter  # noqa: E402
from kaggle_utils.models.checkpoint import CheckpointError  # noqa: E402
from kaggle_utils.models.classifier import load_sequence_classifier  # noqa: E402
from kaggle_utils.models.device_map import DeviceMapError  # noqa: E402
from kaggle_utils.models.merging import choose_merge, free_memory  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402

IDS = torch.tensor([[5, 9, 40, 77, 3]])
QUANTISED = ["nf4", "int8", "fp4"]


def logits(model):
    with torch.no_grad():
        return model(IDS.to(model.device)).logits.float().cpu()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("classifiers")
    return {family: write_tiny_classifier(base / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def adapter(folders, tmp_path_factory):
    """An adapter on the tiny Llama, and the exact logits of both together."""
    folder = tmp_path_factory.mktemp("adapter")
    wrapped = adapted(tiny_classifier("llama"))
    wrapped.save_pretrained(folder)
    return folder, logits(wrapped)


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of the Llama that a test may spoil."""
    return shutil.copytree(folders["llama"], tmp_path / "model")


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def as_language_model(folder, family="llama"):
    """The folder as a base model has it: a language head instead of a score head."""
    edit_weights(folder, lambda w: (w.pop("score.weight"), w.update({"lm_head.weight": torch.ones(512, 64)})))
    config = json.loads((folder / "config.json").read_text())
    config.pop("id2label", None), config.pop("label2id", None)
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForCausalLM"]}))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_what_loads_is_what_was_saved(folders, family):
    loaded = load_sequence_classifier(folders[family], device="cpu")
    torch.testing.assert_close(logits(loaded.model), logits(tiny_classifier(family)))
    assert loaded.dtype is loaded.model.dtype is torch.float32 and loaded.device == "cpu"
    assert not loaded.model.training and loaded.model.config.num_labels == 3


@pytest.mark.parametrize("quantization", QUANTISED)
@pytest.mark.parametrize("family", ["gemma2", "qwen2", "deberta-v2"])
def test_quantised_layers_and_heads_that_are_not(folders, family, quantization):
    pytest.importorskip("bitsandbytes")
    model = load_sequence_classifier(folders[family], quantization=quantization).model
    kinds = {type(m).__name__ for n, m in model.named_modules() if ".layer" in n and isinstance(m, torch.nn.Linear)}
    assert kinds == {"Linear8bitLt" if quantization == "int8" else "Linear4bit"}
    heads = [m for n, m in model.named_modules() if n in ("score", "classifier", "pooler.dense", "bert.pooler.dense")]
    assert heads and {type(head) for head in heads} == {torch.nn.Linear}
    exact = logits(tiny_classifier(family))
    difference = (logits(model) - exact).abs().max()
    assert 0 < difference < (0.2 if quantization == "int8" else 2) * exact.abs().max()


@pytest.mark.parametrize("merge", ["merged", "unmerged", "auto"])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_an_adapter_on_every_kind_of_weights(folders, adapter, quantization, merge):
    loaded = load_sequence_classifier(folders["llama"], adapter=adapter[0], quantization=quantization, merge=merge)
    merged = merge != "unmerged"
    assert any("lora_" in name for name, _ in loaded.model.named_parameters()) is not merged
    quantised = {type(m).__name__ for m in loaded.model.modules()} & {"Linear4bit", "Linear8bitLt"}
    assert bool(quantised) is (quantization != "none" and not merged), "merged weights must not be 4- or 8-bit ones"
    assert any(("adapter merged" if merged else "adapter unmerged") in note for note in loaded.notes)
    found = logits(loaded.model)
    if quantization == "none":
        torch.testing.assert_close(found, adapter[1], atol=1e-5, rtol=1e-5)
    elif merge == "unmerged":  # the same rounded weights, once expanded and once packed
        twin = load_sequence_classifier(folders["llama"], adapter=adapter[0], quantization=quantization, merge="merged")
        bare = load_sequence_classifier(folders["llama"], quantization=quantization)
        effect = (found - logits(bare.model)).abs().max()
        assert (found - logits(twin.model)).abs().max() < 0.1 * effect


def test_a_merged_model_forgets_that_it_was_quantised(folders, adapter, tmp_path):
    model = load_sequence_classifier(folders["llama"], adapter=adapter[0], quantization="nf4", merge="merged").model
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), logits(model))


def test_a_base_model_with_an_adapter_that_brings_the_head(folder, adapter):
    loaded = load_sequence_classifier(as_language_model(folder), adapter=adapter[0])
    torch.testing.assert_close(logits(loaded.model), adapter[1], atol=1e-5, rtol=1e-5)
    assert any("lm_head.weight" in note for note in loaded.notes)


def test_a_base_model_without_a_head_is_refused(folder):
    with pytest.raises(CheckpointError) as caught:
        load_sequence_classifier(as_language_model(folder))
    text = str(caught.value)
    assert "would stay random): score.weight" in text and "adapter= with one that brings the head" in text


def test_an_adapter_that_brings_no_head_does_not_hide_that(folder, tmp_path):
    wrapped = adapted(tiny_classifier("llama"), task_type=None)
    wrapped.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"score\.weight.*brings no head"):
        load_sequence_classifier(as_language_model(folder), adapter=tmp_path / "adapter")
    loaded = load_sequence_classifier(write_tiny_classifier(tmp_path / "whole"), adapter=tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded.model), logits(wrapped), atol=1e-5, rtol=1e-5)


def test_a_raw_state_dict_takes_its_settings_from_the_caller(folder, adapter, tmp_path):
    state = load_file(adapter[0] / "adapter_model.safetensors")
    torch.save({k.removeprefix("base_model.model."): v for k, v in state.items()}, tmp_path / "lora.pth")
    loaded = load_sequence_classifier(folder, adapter=tmp_path / "lora.pth", lora={"alpha": 8})
    torch.testing.assert_close(logits(loaded.model), adapter[1], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="no adapter file"):
        load_sequence_classifier(folder, lora={"alpha": 8})
    with pytest.raises(ValueError, match="does not say its alpha"):
        load_sequence_classifier(folder, adapter=tmp_path / "lora.pth")
    with pytest.raises(ValueError, match="already holds the LoRA settings"):
        load_sequence_classifier(folder, adapter=adapter[0], lora={"alpha": 8})


def test_an_adapter_that_was_read_before_serves_too(folders, adapter):
    loaded = load_sequence_classifier(folders["llama"], adapter=read_adapter(adapter[0]))
    torch.testing.assert_close(logits(loaded.model), adapter[1], atol=1e-5, rtol=1e-5)


def test_missing_and_left_over_weights_are_named(folder):
    def rename(weights):
        weights["model.layers.1.mlp.upp_proj.weight"] = weights.pop("model.layers.1.mlp.up_proj.weight").clone()

    edit_weights(folder, rename)
    with pytest.raises(CheckpointError) as caught:
        load_sequence_classifier(folder)
    assert "would stay random): model.layers.1.mlp.up_proj.weight" in str(caught.value)
    assert "would be dropped): model.layers.1.mlp.upp_proj.weight" in str(caught.value)


def test_another_number_of_labels_is_an_error_not_a_new_head(folders, adapter):
    with pytest.raises(
        CheckpointError, match=r"(?s)of another shape.*the head has 3 outputs \(score\.weight\), num_labels=2"
    ):
        load_sequence_classifier(folders["llama"], num_labels=2)
    with pytest.raises(
        CheckpointError, match=r"the head has 3 outputs \(classifier\.weight\), num_labels=5; give num_labels=3"
    ):
        load_sequence_classifier(folders["bert"], num_labels=5)
    with pytest.raises(ValueError, match=r"num_labels=2, but the head .* has 3 outputs"):
        load_sequence_classifier(folders["llama"], adapter=adapter[0], num_labels=2)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_another_number_of_labels_of_a_folder_that_is_stored_quantised(folder, tmp_path, quantization):
    pytest.importorskip("bitsandbytes")
    stored = load_sequence_classifier(folder, quantization=quantization)
    stored.model.save_pretrained(tmp_path / "small"), stored.tokenizer.save_pretrained(tmp_path / "small")
    assert load_sequence_classifier(tmp_path / "small").model.score.out_features == 3
    with pytest.raises(
        CheckpointError, match=r"the head has 3 outputs \(score\.weight\), num_labels=2; give num_labels=3"
    ):
        load_sequence_classifier(tmp_path / "small", num_labels=2)


@pytest.mark.parametrize("num_labels", [1, 2, 5])
def test_the_number_of_labels_is_read_from_the_folder(tmp_path, num_labels):
    write_tiny_classifier(tmp_path, num_labels=num_labels)
    assert load_sequence_classifier(tmp_path).model.score.out_features == num_labels
    assert load_sequence_classifier(tmp_path, num_labels=num_labels).model.score.out_features == num_labels


def test_an_adapter_may_bring_a_head_of_another_size(folder, adapter):
    """Trained from a folder of two classes: the base's head is replaced, not an error."""
    edit_weights(folder, lambda w: w.update({"score.weight": torch.ones(2, 64)}))
    config = json.loads((folder / "config.json").read_text())
    config.pop("id2label"), config.pop("label2id")
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_sequence_classifier(folder, adapter=adapter[0])
    torch.testing.assert_close(logits(loaded.model), adapter[1], atol=1e-5, rtol=1e-5)


def test_an_encoder_without_a_trained_pooler_is_refused(tmp_path):
    write_tiny_classifier(tmp_path, "deberta-v2")
    edit_weights(tmp_path, lambda w: [w.pop(f"pooler.dense.{kind}") for kind in ("weight", "bias")])
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias, pooler\.dense\.weight"):
        load_sequence_classifier(tmp_path)


def test_a_pad_token_that_can_be_looked_up(folders, tmp_path):
    loaded = load_sequence_classifier(folders["llama"])
    assert loaded.tokenizer.pad_token_id == loaded.model.config.pad_token_id == 0
    assert any("pad token" in note for note in loaded.notes)
    write_tiny_classifier(tmp_path, pad_token_id=None)
    loaded = load_sequence_classifier(tmp_path)
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token
    assert loaded.model.config.pad_token_id == loaded.tokenizer.eos_token_id
    transformers.AutoTokenizer.from_pretrained(tmp_path, pad_token="[PAD]").save_pretrained(tmp_path)
    loaded = load_sequence_classifier(tmp_path)  # its id lies behind the last embedding
    assert 0 <= loaded.tokenizer.pad_token_id < 512


def test_a_folder_without_a_tokenizer_scores_and_takes_another_ones(folders, folder, tmp_path):
    for file in folder.glob("token*"):
        file.unlink()
    loaded = load_sequence_classifier(folder)
    assert loaded.tokenizer is None and loaded.model.config.pad_token_id == 0
    assert any("no tokenizer lies in the folder" in note for note in loaded.notes)
    rows = [np.array([5, 9, 40])]
    again = load_sequence_classifier(folder, tokenizer=folders["llama"])
    assert again.tokenizer.pad_token_id == 0
    np.testing.assert_array_equal(PackedClassifier(loaded.model).score(rows), PackedClassifier(again.model).score(rows))
    for wrong in (tmp_path / "nowhere", folder):
        with pytest.raises(FileNotFoundError, match=r"no tokenizer at .*there is: .*trained from"):
            load_sequence_classifier(folder, tokenizer=wrong)


def test_it_scores_packs_merged_and_unmerged(folders, adapter):
    rows = [np.array([5, 9, 40, 77, 3]), np.array([7]), np.arange(1, 60)]
    scores = [
        PackedClassifier(load_sequence_classifier(folders["llama"], adapter=adapter[0], merge=merge).model).score(rows)
        for merge in ("merged", "unmerged")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    np.testing.assert_allclose(scores[0][0], adapter[1][0], atol=1e-4)


def test_folded_nf4_with_the_adapter_inside_scores_packs(folders, adapter):
    from kaggle_utils.models.nf4 import fold_nf4

    rows, options = [np.array([5, 9, 40]), np.arange(1, 30)], {"adapter": adapter[0], "quantization": "nf4"}
    model = load_sequence_classifier(folders["llama"], merge="unmerged", **options).model
    assert fold_nf4(model) == 14
    merged = load_sequence_classifier(folders["llama"], merge="merged", **options).model
    np.testing.assert_allclose(
        PackedClassifier(model).score(rows), PackedClassifier(merged).score(rows), atol=1e-3, rtol=1e-3
    )


def test_choices_and_reasons_are_logged(folders, adapter, caplog):
    with caplog.at_level(logging.INFO, logger="kaggle_utils"):
        load_sequence_classifier(folders["llama"], adapter=adapter[0])
    for words in ("torch.float32 (a CPU", "merged: the weights are not quantised", "rank 4, alpha 8"):
        assert words in caplog.text


def test_little_memory_leaves_the_adapter_unmerged(folders, adapter, monkeypatch):
    monkeypatch.setattr(classifier, "free_memory", lambda device: 10_000)
    loaded = load_sequence_classifier(folders["llama"], adapter=adapter[0], quantization="nf4")
    assert any("lora_" in name for name, _ in loaded.model.named_parameters())
    assert any(note.startswith("adapter unmerged: ") and "usable" in note for note in loaded.notes)


def test_bin_weights_are_read_and_pickled_objects_are_not(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    expected = logits(tiny_classifier("llama"))
    torch.testing.assert_close(logits(load_sequence_classifier(folder).model), expected)
    canary = folder / "executed"

    class Hostile:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    torch.save({**weights, "extra": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled objects are refused"):
        load_sequence_classifier(folder)
    assert not canary.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.999])
def test_bin_weights_that_are_cut_are_named(folder, zipped, left):
    weights, file = load_file(folder / "model.safetensors"), folder / "pytorch_model.bin"
    (folder / "model.safetensors").unlink()
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(
        CheckpointError, match=r"(?s)pytorch_model\.bin cannot be read: \w+Error.*copy or download it again"
    ):
        load_sequence_classifier(folder)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("of memory"), RuntimeError("CUDA error: an assert")])
def test_errors_that_are_not_about_files_pass(folder, error, monkeypatch):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", fail)
    with pytest.raises(type(error)) as caught:
        load_sequence_classifier(folder)
    assert caught.value is error


def test_an_adapter_folder_given_as_the_model_is_sent_to_adapter(adapter):
    with pytest.raises(
        CheckpointError, match=r"this is a LoRA adapter; give the folder of its base model here.*adapter="
    ):
        load_sequence_classifier(adapter[0])


@pytest.mark.parametrize(("options", "words"), [({"quantization": "int3"}, "unknown quantization"),
                                                ({"dtype": "float8"}, "unknown dtype"),
                                                ({"device": "even"}, "one device"),
                                                ({"device": "cuda:9"}, "no such device")])  # fmt: skip
def test_wrong_settings_are_refused(folders, options, words):
    with pytest.raises(ValueError, match=words):
        load_sequence_classifier(folders["llama"], **options)


def test_nothing_there(tmp_path, folders):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_sequence_classifier(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no adapter at"):
        load_sequence_classifier(folders["llama"], adapter=tmp_path / "nowhere")


LLAMA = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("merge", "scheme", "gib", "merged", "words"),
    [("auto", "none", 1, True, "not quantised"), ("auto", "nf4", 80, True, "merged into expanded weights"),
     ("auto", "nf4", 15, False, "GiB usable"), ("auto", "int8", 15, False, "GiB usable"),
     ("auto", "nf4", None, False, "not known"), ("auto", "gptq", 80, False, "'gptq'"),
     ("merged", "nf4", 1, True, "asked for"), ("unmerged", "none", 80, False, "asked for")],
)  # fmt: skip
def test_the_merge_policy_follows_the_estimate(merge, scheme, gib, merged, words):
    free = gib * 2**30 if gib else None
    found, reason = choose_merge(merge, config=LLAMA, scheme=scheme, dtype="float16", free_bytes=free)
    assert found is merged and words in reason


def test_merge_policies_that_cannot_be():
    options = {"config": LLAMA, "dtype": "float16", "free_bytes": None}
    with pytest.raises(ValueError, match="unknown merge policy 'always'"):
        choose_merge("always", scheme="none", **options)
    with pytest.raises(ValueError, match="'gptq' cannot be expanded"):
        choose_merge("merged", scheme="gptq", **options)
    unknown = choose_merge("auto", scheme="nf4", **{**options, "config": {"model_type": "new"}, "free_bytes": 1 << 40})
    assert unknown[0] is False and "'new' are not known" in unknown[1]


def test_free_memory_of_the_host(monkeypatch, tmp_path):
    assert free_memory("cpu") > 2**20
    monkeypatch.setattr(merging, "Path", lambda path: tmp_path / "nowhere")
    assert free_memory("cpu") is None


@pytest.mark.gpu
@pytest.mark.parametrize("merge", ["merged", "unmerged"])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_on_a_gpu(folders, adapter, quantization, merge):
    loaded = load_sequence_classifier(folders["llama"], adapter=adapter[0], quantization=quantization, merge=merge)
    assert loaded.device == "cuda:0" and {p.device.type for p in loaded.model.parameters()} == {"cuda"}
    exact = load_sequence_classifier(
        folders["llama"], adapter=adapter[0], quantization=quantization, merge="merged", device="cpu"
    )
    scale = logits(exact.model).abs().max()
    assert (logits(loaded.model) - logits(exact.model)).abs().max() < 0.25 * scale


@pytest.mark.gpu
def test_free_memory_of_a_gpu_respects_a_cap():
    free, total = torch.cuda.mem_get_info(0)
    assert 0 < free_memory("cuda:0") <= free
    if not hasattr(torch.cuda, "get_per_process_memory_fraction"):
        pytest.skip("this torch does not tell its cap")
    torch.cuda.set_per_process_memory_fraction(0.1, 0)
    try:
        assert free_memory("cuda:0") <= 0.1 * total
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


@pytest.mark.parametrize("family", ["gemma2", "llama"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_pipeline_computes_what_one_device_does(folders, family, quantization):
    options = {"quantization": quantization, "merge": "merged"}
    loaded = load_sequence_classifier(folders[family], device="cpu,cpu", **options)
    assert loaded.device == "cpu,cpu" and any("2 stages, which begin at layers [0, 1]" in n for n in loaded.notes)
    assert type(loaded.model.model.layers[1]) is not type(loaded.model.model.layers[0])
    whole = load_sequence_classifier(folders[family], device="cpu", **options)
    torch.testing.assert_close(logits(loaded.model), logits(whole.model))


def test_a_pipeline_with_an_adapter(folders, adapter):
    loaded = load_sequence_classifier(folders["llama"], adapter=adapter[0], device="cpu,cpu")
    torch.testing.assert_close(logits(loaded.model), adapter[1], atol=1e-5, rtol=1e-5)


def test_a_pipeline_that_cannot_be(folders):
    with pytest.raises(ValueError, match="4 stages for 2 layers"):
        load_sequence_classifier(folders["llama"], device="cpu,cpu,cpu,cpu")
    with pytest.raises(ValueError, match="cannot be cut into stages"):
        load_sequence_classifier(folders["bert"], device="cpu,cpu")
    with pytest.raises(DeviceMapError, match="no such device: cuda:98"):
        load_sequence_classifier(folders["llama"], device="cuda:98,cuda:99")


@pytest.mark.parametrize("quantization", QUANTISED)
def test_quantised_weights_are_expanded_where_asked_even_without_an_adapter(folders, quantization):
    pytest.importorskip("bitsandbytes")
    packed = load_sequence_classifier(folders["llama"], quantization=quantization, merge="unmerged").model
    model = load_sequence_classifier(folders["llama"], quantization=quantization, merge="merged").model
    assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert type(packed.model.layers[0].mlp.up_proj) is not torch.nn.Linear
    exact = logits(tiny_classifier("llama"))
    assert 0 < (logits(model) - exact).abs().max() < 2 * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_each_layer_of_a_pipeline_is_read_to_its_own_gpu(folders, adapter, quantization):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    options = {"adapter": adapter[0], "quantization": quantization, "merge": "merged", "dtype": "float32"}
    loaded = load_sequence_classifier(folders["llama"], device="cuda:0,cuda:1", **options)
    assert {p.device.index for p in loaded.model.model.layers[0].parameters()} == {0}
    assert {p.device.index for p in loaded.model.model.layers[1].parameters()} == {1}
    assert not any({"_hf_hook", "forward"} & set(vars(module)) for module in loaded.model.modules())
    rows = [np.array([5, 9, 40, 77, 3]), np.array([8, 1])]
    whole = load_sequence_classifier(folders["llama"], device="cuda:0", **options)
    found, expected = PackedClassifier(loaded.model).score(rows), PackedClassifier(whole.model).score(rows)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
def test_a_pipeline_never_holds_the_whole_model_on_one_gpu(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 8, "num_attention_heads": 16}
    folder = write_tiny_classifier(tmp_path / "wide", "llama", **sizes)
    whole = (folder / "model.safetensors").stat().st_size / 2  # stored as float32, loaded in 16 bits
    for index in (0, 1):
        torch.cuda.reset_peak_memory_stats(index)
    before = [torch.cuda.memory_allocated(index) for index in (0, 1)]
    load_sequence_classifier(folder, device="cuda:0,cuda:1")
    assert all(torch.cuda.max_memory_allocated(i) - before[i] < 0.7 * whole for i in (0, 1))

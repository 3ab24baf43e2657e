"""Adapters from peft folders and raw state dicts: each tensor used, each layer filled, or an error with names."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_classifiers import adapted, tiny_classifier, write_tiny_classifier  # noqa: E402

from kaggle_utils.models.adapter_fitting import apply_adapter  # noqa: E402
from kaggle_utils.models.adapter_keys import AdapterKeyError, split_adapter_keys  # noqa: E402
from kaggle_utils.models.adapters import read_adapter  # noqa: E402
from kaggle_utils.models.checkpoint import CheckpointError  # noqa: E402
from kaggle_utils.models.raw_lora import LoraSettings, required_layers  # noqa: E402

IDS = torch.tensor([[5, 9, 40, 77, 3]])
SETTINGS = {"alpha": 8}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A peft model, its folder, and its logits."""
    folder = tmp_path_factory.mktemp("adapter") / "peft"
    wrapped = adapted(tiny_classifier("llama"))
    wrapped.save_pretrained(folder)
    return wrapped, folder, logits(wrapped)


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained[1], tmp_path / "adapter")


def raw(wrapped, *, prefix="base_model.model.", style="full"):
    """What the notebook saved: the lora_ and score tensors of the model's state dict."""
    state = {k: v for k, v in wrapped.state_dict().items() if "lora_" in k or "score" in k}
    if style == "short":
        state = {k.replace(".default", "").replace("modules_to_save.", ""): v for k, v in state.items()
                 if "original_module" not in k}  # fmt: skip
    return {prefix + k.removeprefix("base_model.model."): v.contiguous() for k, v in state.items()}


def applied(adapter, *, merge=False, base=None):
    model = base if base is not None else tiny_classifier("llama")
    return apply_adapter(model, adapter, merge=merge, dtype=torch.float32)


@pytest.mark.parametrize("merge", [False, True])
def test_a_peft_folder_computes_what_peft_computes(trained, merge):
    adapter = read_adapter(trained[1])
    assert (adapter.rank, adapter.num_labels, len(adapter.layers)) == (4, 3, 6)
    model = applied(adapter, merge=merge)
    torch.testing.assert_close(logits(model), trained[2], atol=1e-5, rtol=1e-5)
    assert type(model) is transformers.LlamaForSequenceClassification and not model.training
    assert type(model.score) is torch.nn.Linear, "a wrapper of peft would hide the head from the packed classifier"
    assert any("lora_" in name for name, _ in model.named_parameters()) is not merge
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth", ".pt"])
@pytest.mark.parametrize(("prefix", "style"), [("base_model.model.", "full"), ("base_model.model.", "short"),
                                               ("", "short"), ("module.base_model.model.", "full"),
                                               ("_orig_mod.base_model.model.", "full")])  # fmt: skip
def test_a_raw_state_dict_of_every_style(trained, tmp_path, suffix, prefix, style):
    state, file = raw(trained[0], prefix=prefix, style=style), tmp_path / f"lora{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    model = applied(read_adapter(file, settings=SETTINGS))
    torch.testing.assert_close(logits(model), trained[2], atol=1e-5, rtol=1e-5)


def test_alpha_matters_and_has_to_be_given(trained, tmp_path):
    torch.save(raw(trained[0]), tmp_path / "lora.pth")
    with pytest.raises(ValueError, match=r"does not say its alpha.*settings=LoraSettings\(alpha="):
        read_adapter(tmp_path / "lora.pth")
    wrong = applied(read_adapter(tmp_path / "lora.pth", settings=LoraSettings(alpha=16)))
    assert (logits(wrong) - trained[2]).abs().max() > 1e-2


def test_settings_beside_a_raw_file_serve(trained, tmp_path):
    torch.save({"state_dict": raw(trained[0])}, tmp_path / "lora.pth")
    shutil.copy(trained[1] / "adapter_config.json", tmp_path)
    torch.testing.assert_close(logits(applied(read_adapter(tmp_path / "lora.pth"))), trained[2], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"already holds the LoRA settings"):
        read_adapter(tmp_path / "lora.pth", settings=SETTINGS)


def test_ranks_that_differ_by_layer(tmp_path):
    wrapped = adapted(tiny_classifier("llama"), rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 4})
    torch.save(raw(wrapped), tmp_path / "lora.pth")
    config = read_adapter(tmp_path / "lora.pth", settings=SETTINGS).config
    assert config.r == 4 and set(config.rank_pattern.values()) == {2}
    wrapped.save_pretrained(tmp_path / "peft")
    model = applied(read_adapter(tmp_path / "peft"), merge=True)
    torch.testing.assert_close(logits(model), logits(wrapped), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"use_rslora": True}, {"use_dora": True}, {"layers_to_transform": [1]}, {"target_modules": "all-linear"},
     {"lora_dropout": 0.3}],
)  # fmt: skip
def test_variants_of_lora_in_peft_folders(tmp_path, settings):
    wrapped = adapted(tiny_classifier("llama"), **settings)
    wrapped.save_pretrained(tmp_path)
    for merge in (False, True):
        model = applied(read_adapter(tmp_path), merge=merge)
        torch.testing.assert_close(logits(model), logits(wrapped), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_an_encoder_with_a_pooler_that_was_trained_too(tmp_path, family):
    names = {"bert": ["query", "value"], "deberta-v2": ["query_proj", "value_proj"]}[family]
    wrapped = adapted(tiny_classifier(family), target_modules=names, modules_to_save=["classifier", "pooler"])
    wrapped.save_pretrained(tmp_path)
    found = logits(applied(read_adapter(tmp_path), merge=True, base=tiny_classifier(family)))
    torch.testing.assert_close(found, logits(wrapped), atol=1e-5, rtol=1e-5)


def edit(folder, change):
    state = load_file(folder / "adapter_model.safetensors")
    change(state)
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})


LAYER = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"


def test_a_layer_that_is_not_filled_is_named(folder):
    edit(folder, lambda state: state.pop(LAYER))
    with pytest.raises(CheckpointError, match=rf"1 tensors of adapted layers are not in it: {LAYER}"):
        applied(read_adapter(folder))


def test_a_tensor_that_fits_nowhere_is_named(folder):
    edit(folder, lambda state: state.update({LAYER.replace("layers.1", "layers.7"): state[LAYER].clone()}))
    with pytest.raises(CheckpointError, match=r"1 tensors fit no adapted layer of Llama.*layers\.7\.self_attn"):
        applied(read_adapter(folder))


def test_an_adapter_of_a_larger_model_is_refused(tmp_path):
    adapted(tiny_classifier("llama", hidden_size=128)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"score\.weight \(3, 128\), expected \(3, 64\)"):
        applied(read_adapter(tmp_path))


def test_lora_shapes_that_differ_are_named_before_anything_is_loaded(folder):
    edit(folder, lambda state: state.update({LAYER: torch.zeros(64, 9)}))
    with pytest.raises(CheckpointError, match=r"q_proj\.lora_B\.weight \(64, 9\), expected \(64, 4\)"):
        applied(read_adapter(folder))


def test_a_head_that_is_promised_but_missing_is_named(folder):
    edit(folder, lambda state: state.pop("base_model.model.score.weight"))
    with pytest.raises(CheckpointError, match=r"neither in it nor in the base weights: score\.weight"):
        applied(read_adapter(folder))


def test_a_parameter_that_the_base_left_empty_must_be_brought(folder):
    with pytest.raises(CheckpointError, match=r"neither in it nor in the base weights: model\.norm\.weight"):
        apply_adapter(tiny_classifier("llama"), read_adapter(folder), merge=False, dtype=torch.float32,
                      uncovered=["model.norm.weight"])  # fmt: skip


def test_target_modules_that_are_given_must_all_be_there(trained, tmp_path):
    torch.save(raw(trained[0]), tmp_path / "lora.pth")
    settings = LoraSettings(alpha=8, target_modules=("q_proj", "v_proj", "down_proj", "k_proj"))
    with pytest.raises(CheckpointError, match=r"4 tensors of adapted layers are not in it: .*k_proj\.lora_A"):
        applied(read_adapter(tmp_path / "lora.pth", settings=settings))
    with pytest.raises(CheckpointError, match=r"r is given as 8, but the rank of .*q_proj has 4"):
        read_adapter(tmp_path / "lora.pth", settings=LoraSettings(alpha=8, r=8))


@pytest.mark.parametrize("lost", ["layers.1.self_attn.q_proj", "layers.1.", "layers.0.mlp.down_proj"])
def test_layers_that_a_raw_file_lost_are_named(trained, tmp_path, lost):
    torch.save({k: v for k, v in raw(trained[0]).items() if lost not in k}, tmp_path / "lora.pth")
    adapter = read_adapter(tmp_path / "lora.pth", settings=SETTINGS)
    with pytest.raises(
        CheckpointError, match=r"layers are not in it, while their like .*(?s:.)*LoraSettings\(layers="
    ) as e:
        applied(adapter)
    assert f"model.{lost}" in str(e.value), "the layers are named"


def test_a_raw_file_of_some_layers_says_which(tmp_path):
    wrapped = adapted(tiny_classifier("llama"), layers_to_transform=[1])
    file = tmp_path / "lora.pth"
    torch.save(raw(wrapped), file)
    for more in ({}, {"target_modules": ("q_proj", "v_proj", "down_proj")}):
        model = applied(read_adapter(file, settings={**SETTINGS, **more, "layers": [1]}), merge=True)
        torch.testing.assert_close(logits(model), logits(wrapped), atol=1e-5, rtol=1e-5)
        with pytest.raises(CheckpointError, match=r"layers\.0\.self_attn\.q_proj"):
            applied(read_adapter(file, settings={**SETTINGS, **more, "layers": (0, 1)}))
    with pytest.raises(CheckpointError, match=r"layers is given as \(0,\), but it holds .*layers\.1\."):
        read_adapter(file, settings={**SETTINGS, "layers": (0,)})


def test_kinds_of_layers_that_no_layer_has_are_not_asked_for(tmp_path):
    """A name with a number of its own, such as fc1, is not the like of fc2."""
    wrapped = adapted(tiny_classifier("bert"), target_modules=["query", "value"], modules_to_save=["classifier"])
    torch.save({k: v for k, v in raw(wrapped).items() if "lora_" in k}, tmp_path / "lora.pth")
    adapter = read_adapter(tmp_path / "lora.pth", settings=SETTINGS)
    applied(adapter, base=tiny_classifier("bert"))
    assert required_layers({"h.0.fc1.lora_A.weight": None}, None) == (r"h\.\d+\.fc1",)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(folder, bad):
    edit(folder, lambda state: state[LAYER].view(-1)[3:4].fill_(bad))
    with pytest.raises(
        CheckpointError, match=r"1 tensors hold numbers that are not finite: .*1\.self_attn\.q_proj\.lora_B"
    ):
        read_adapter(folder)


def test_merged_weights_that_are_not_finite_name_the_adapter(folder):
    edit(folder, lambda state: [t.fill_(1e30) for name, t in state.items() if "q_proj" in name])
    with pytest.raises(
        CheckpointError, match=r"(?s)adapter cannot be loaded.*cannot be merged: .*too large for torch.float32"
    ):
        applied(read_adapter(folder), merge=True)


def test_trained_biases_are_named_as_the_reason(tmp_path):
    adapted(tiny_classifier("bert"), target_modules=["query"], bias="lora_only").save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"(?s)belong to the base model.*settings say bias='lora_only'.*merge it by peft"
    ):
        read_adapter(tmp_path)


def test_base_weights_in_a_raw_file_are_refused(trained, tmp_path):
    torch.save(trained[0].state_dict(), tmp_path / "all.pth")
    with pytest.raises(CheckpointError, match=r"tensors belong to the base model.*embed_tokens"):
        read_adapter(tmp_path / "all.pth", settings=SETTINGS)


def test_other_kinds_of_adapters_are_refused(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(CheckpointError, match=r"peft_type is 'IA3'; only LORA"):
        read_adapter(folder)


def test_pickled_objects_are_never_run(tmp_path):
    canary = tmp_path / "executed"

    class Hostile:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    torch.save({"a.lora_A.weight": Hostile()}, tmp_path / "lora.pth")
    with pytest.raises(CheckpointError, match="pickled objects are refused"):
        read_adapter(tmp_path / "lora.pth", settings=SETTINGS)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [({}, "expected a dict of tensors"), ([1, 2], "holds a list"), ({"a.lora_A.weight": 3}, "'a.lora_A.weight' (int)"),
     ({"score.weight": torch.ones(3, 4)}, "no lora_A tensors")],
)  # fmt: skip
def test_files_that_are_no_adapter(tmp_path, content, words):
    torch.save(content, tmp_path / "lora.pth")
    with pytest.raises(CheckpointError) as caught:
        read_adapter(tmp_path / "lora.pth", settings=SETTINGS)
    assert words in str(caught.value)


def test_cut_files_and_empty_folders(tmp_path, folder):
    for name, data in (("cut.pth", b"PK\x03\x04half"), ("cut.safetensors", b"\x08\x00"), ("empty.bin", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=r"cannot be read|pickled objects are refused"):
            read_adapter(tmp_path / name, settings=SETTINGS)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        read_adapter(folder)
    assert "no weights" in str(caught.value) and "no adapter_config.json" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"there is: .*adapter"):
        read_adapter(tmp_path / "nowhere")


def test_settings_refuse_nonsense():
    for wrong in ({"alpha": 0}, {"alpha": 8, "r": 0}, {"alpha": 8, "target_modules": "q_proj"},
                  {"alpha": 8, "layers": 1}, {"alpha": 8, "layers": "01"}, {"alpha": 8, "layers": (-1,)}):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            LoraSettings(**wrong)


def test_two_adapters_in_one_file_are_refused():
    with pytest.raises(AdapterKeyError, match="keep one adapter"):
        split_adapter_keys({"q.lora_A.first.weight": 1, "q.lora_A.second.weight": 2})


@pytest.mark.parametrize(
    ("key", "name"),
    [("base_model.model.classifier.modules_to_save.default.weight", "classifier.weight"),
     ("base_model.model.pooler.modules_to_save.default.dense.bias", "pooler.dense.bias"),
     ("pooler.modules_to_save.dense.bias", "pooler.dense.bias"),
     ("score.modules_to_save.weight", "score.weight"),
     ("module.module._orig_mod.score.weight", "score.weight")],
)  # fmt: skip
def test_names_of_whole_parameters(key, name):
    assert split_adapter_keys({key: 1}) == ({}, {name: 1})


def test_the_summary_names_what_changes(trained):
    text = read_adapter(trained[1]).summary()
    assert "rank 4, alpha 8" in text and "q_proj x 2" in text and "brings score.weight" in text


def test_the_written_folder_loads_on_its_base(trained, tmp_path):
    """Against the shipped loader of peft, not only against the model in memory."""
    base = write_tiny_classifier(tmp_path / "base")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    theirs = logits(peft.PeftModel.from_pretrained(loaded, trained[1]).eval())
    torch.testing.assert_close(logits(applied(read_adapter(trained[1]))), theirs, atol=1e-5, rtol=1e-5)

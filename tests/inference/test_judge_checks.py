"""What a judge cannot be is said where it is named, in the words of its settings, before a worker is there."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from tiny_classifiers import adapted, tiny_classifier, write_tiny_classifier

from kaggle_utils.inference.judges import folder_judge
from kaggle_utils.models.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_classifier(tmp_path_factory.mktemp("model") / "llama", "llama")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    adapted(tiny_classifier("llama")).save_pretrained(folder)
    return folder


@pytest.fixture
def bare(adapter, tmp_path):
    """The adapter as a file whose settings lie nowhere."""
    return shutil.copy(adapter / "adapter_model.safetensors", tmp_path / "lora.safetensors")


def make(model, **options):
    return folder_judge("judge", model, None, devices=["cpu"], **options)


def test_unknown_settings_are_named_together(model):
    words = (
        r"(?s)judge 'judge' cannot be made.*quantization is 'fp4x', expected one of none, int8, nf4, fp4, fp8"
        r".*unknown merge policy 'both'.*compile is 'yes', expected True, False or 'auto'"
        r".*max_tokens is 0, expected a whole number.*num_labels is True.*no adapter"
    )
    wrong = {"quantization": "fp4x", "merge": "both", "compile": "yes", "max_tokens": 0, "num_labels": True}
    with pytest.raises(ValueError, match=words):
        make(model, lora={"alpha": 8}, **wrong)


def test_a_bare_adapter_needs_its_alpha_now(model, bare):
    with pytest.raises(ValueError, match=r'bare state dict.*give lora=\{"alpha": \.\.\.\}'):
        make(model, adapter=bare)
    assert make(model, adapter=bare, lora={"alpha": 8}).spec.kwargs["lora"] == {"alpha": 8}


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"lora_alpha": 8}, r"(?s)unknown settings \['lora_alpha'\]; expected some of alpha, r.*without the scale"),
        ({"r": 8}, r'without the scale; give lora=\{"alpha": \.\.\.\}'),
        ({"alpha": -1}, "alpha is -1, expected a positive number"),
        ({"alpha": "8"}, r"lora is \{'alpha': '8'\}"),
    ],
)
def test_wrong_settings_of_a_bare_adapter(model, bare, lora, words):
    with pytest.raises(ValueError, match=words):
        make(model, adapter=bare, lora=lora)


def test_settings_that_lie_beside_the_adapter_are_not_given_again(model, adapter, bare, tmp_path):
    for where in (adapter, bare):
        if where is bare:
            shutil.copy(adapter / "adapter_config.json", tmp_path)
        with pytest.raises(ValueError, match=r"adapter_config\.json already holds .*leave lora=\{'alpha': 8\} out"):
            make(model, adapter=where, lora={"alpha": 8})
        assert make(model, adapter=where)


def test_an_adapter_that_is_none_is_found_now(model, adapter, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make(model, adapter=tmp_path / "nowhere")
    broken = tmp_path / "lora.pth"
    broken.write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=r"lora\.pth cannot be loaded"):
        make(model, adapter=broken, lora={"alpha": 8})


def test_an_adapter_with_another_head(model, adapter):
    with pytest.raises(ValueError, match="head has 3 outputs, num_labels is 2"):
        make(model, adapter=adapter, num_labels=2)


def test_alpha_decides_the_fingerprint_wherever_it_is_said(model, adapter, bare, tmp_path):
    settings = json.loads((adapter / "adapter_config.json").read_text())
    prints = {make(model, adapter=bare, lora={"alpha": alpha}).spec.fingerprint for alpha in (8, 800)}
    for alpha in (8, 800):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": alpha}))
        prints.add(make(model, adapter=bare).spec.fingerprint)
    assert len(prints) == 4

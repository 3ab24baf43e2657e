"""The model of a fold: what is frozen, who learns how fast, and what may not be changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier

from kaggle_utils.training.fold_model import freeze, load_fold_model, parameter_counts, parameter_groups


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fold-model")
    tiny_classifier("deberta-v2", num_labels=3).save_pretrained(path)
    return path


def load(folder: Path, **changes):
    return load_fold_model(folder, **{"num_labels": 3, "seed": 0, "overrides": {}, **changes})


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "llama"])
def test_groups_hold_every_parameter_once_and_slow_down_with_depth(family):
    model = tiny_classifier(family)
    groups = parameter_groups(model, learning_rate=1.0, decay=0.5, weight_decay=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    rates = {id(parameter): group for group in groups for parameter in group["params"]}
    named = dict(model.named_parameters())
    head = next(p for name, p in named.items() if name.startswith(("classifier", "score")))
    top = next(p for name, p in named.items() if ".1." in name and p.ndim == 2)
    bottom = next(p for name, p in named.items() if ".0." in name and p.ndim == 2)
    assert [rates[id(p)]["lr"] for p in (head, top, bottom, model.get_input_embeddings().weight)] == [
        1,
        0.5,
        0.25,
        0.125,
    ]
    assert all(rates[id(p)]["weight_decay"] == (0.1 if p.ndim > 1 else 0) for p in model.parameters())


def test_frozen_parts_do_not_learn(folder):
    model = load(folder)
    trainable = freeze(model, embeddings=True, layers=1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert "deberta.embeddings.word_embeddings.weight" in frozen
    assert any(".layer.0." in name for name in frozen) and not any(".layer.1." in name for name in frozen)
    assert not any(name.startswith(("classifier", "pooler")) for name in frozen)
    counted = parameter_counts(folder, num_labels=3, overrides={}, freeze_embeddings=True, freeze_layers=1)
    assert counted == (sum(p.numel() for p in model.parameters()), trainable)
    assert len(parameter_groups(model, learning_rate=1, decay=1, weight_decay=0)) < 10
    with pytest.raises(ValueError, match="freeze_layers is 3, and the model has 2 layers"):
        freeze(model, embeddings=False, layers=3)


def test_the_head_is_of_the_seed(tmp_path):
    import torch

    tiny_classifier("bert").bert.save_pretrained(tmp_path)
    first, same, other = (load(tmp_path, seed=seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_body_without_weights_is_refused(folder, tmp_path):
    import safetensors.torch

    weights = safetensors.torch.load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layer.1." not in name}
    safetensors.torch.save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match=r"no weights of the right shape for 16 tensors of the body.*layer\.1\."):
        load(tmp_path)


def test_a_head_of_other_classes_is_made_anew_and_nothing_else_is(folder, tmp_path):
    model = load(folder, num_labels=5)
    assert model.classifier.out_features == 5
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 256}))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(ValueError, match="tensors of the body, such as deberta"):
        load(tmp_path)


def test_overrides_are_known_to_the_config(folder):
    assert load(folder, overrides={"hidden_dropout_prob": 0.25}).config.hidden_dropout_prob == 0.25
    with pytest.raises(ValueError, match="'hidden_dropout'"):
        load(folder, overrides={"hidden_dropout": 0.25})


def test_a_hook_may_change_layers_but_not_the_names_of_weights(folder, tmp_path):
    import torch

    def swap(model):
        model.deberta.encoder.layer[0].output.dropout = torch.nn.Identity()
        return model

    load(folder, prepare=swap).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["DebertaV2ForSequenceClassification"]

    def wrap(model):
        model.deberta.encoder.layer[0] = torch.nn.Sequential(model.deberta.encoder.layer[0])
        return model

    with pytest.raises(ValueError, match=r"changed the names or shapes of 32 weights"):
        load(folder, prepare=wrap)
    with pytest.raises(ValueError, match="returned None"):
        load(folder, prepare=lambda model: None)

"""Pooling inside the last layer: the same logits, and nothing changes for who does not ask for it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier  # noqa: E402

from kaggle_utils.models.attention import AttentionPath  # noqa: E402
from kaggle_utils.models.classifier_weights import remove_hooks  # noqa: E402
from kaggle_utils.models.last_layer import pool_in_last_layer, pool_size  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402
from kaggle_utils.models.pipeline import split_layers, stage_map  # noqa: E402


@pytest.mark.parametrize("family", ["gemma2", "llama", "qwen2", "qwen3", "mistral"])
def test_a_pack_pooled_in_the_last_layer_gives_the_same_logits(family):
    rows = [np.random.default_rng(n).integers(1, 500, n) for n in (3, 40, 17, 1, 66)]
    model = tiny_classifier(family)
    alone = [PackedClassifier(model, path=AttentionPath("causal", "")).score([row])[0] for row in rows]
    scorer = PackedClassifier(model, path=AttentionPath("ragged", ""), max_tokens=1024)
    seen = []
    model.model.norm.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    np.testing.assert_allclose(scorer.score(rows), np.stack(alone), atol=2e-5)
    assert seen == [pool_size(len(rows))], "the last layer did not pool"


def test_a_pooled_model_is_an_ordinary_model_for_everyone_else():
    model = tiny_classifier("gemma2")
    ids = torch.randint(1, 500, (2, 30))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        assert pool_in_last_layer(model) and pool_in_last_layer(model)
        after = model(input_ids=ids).logits
    assert torch.equal(before, after)


def test_a_layer_of_another_layout_is_left_alone():
    model = tiny_classifier("llama")

    class LlamaDecoderLayerWithAnExtra(type(model.model.layers[-1])):
        pass

    model.model.layers[-1].__class__ = LlamaDecoderLayerWithAnExtra
    assert not pool_in_last_layer(model)
    assert "forward" not in vars(model.model.layers[-1])


@pytest.mark.parametrize("path", ["flex", "ragged"])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_a_model_that_was_read_to_several_devices_pools_like_any_other(family, path):
    """accelerate puts hooks on all modules of such a model and, taken off, leaves their forward() behind."""
    accelerate = pytest.importorskip("accelerate")
    rows = [np.random.default_rng(n).integers(1, 500, n) for n in (3, 40, 17, 1, 66)]
    score = lambda model: PackedClassifier(model, path=AttentionPath(path, ""), max_tokens=1024).score(rows)  # noqa: E731
    expected, seen = score(tiny_classifier(family)), []
    model = tiny_classifier(family)
    accelerate.dispatch_model(model, stage_map(len(model.model.layers), ["cpu", "cpu"]), force_hooks=True)
    model.model.norm.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    np.testing.assert_allclose(score(model), expected, atol=2e-5)
    remove_hooks(model)
    assert not any("forward" in vars(module) for module in model.modules())
    split_layers(model, ["cpu", "cpu"])
    np.testing.assert_allclose(score(model), expected, atol=2e-5)
    assert seen == [128, pool_size(len(rows))], "with hooks every token goes through the last layer"

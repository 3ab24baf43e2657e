"""The sigmoid form of GELU is the tanh form."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier  # noqa: E402

from kaggle_utils.models.gelu import use_sigmoid_gelu  # noqa: E402


def test_it_is_the_same_number_in_every_layer_and_one_class():
    model = tiny_classifier("gemma2")
    before = model.model.layers[0].mlp.act_fn
    assert use_sigmoid_gelu(model) == len(model.model.layers)
    x = torch.linspace(-12, 12, 5001)
    torch.testing.assert_close(model.model.layers[0].mlp.act_fn(x), before(x), atol=2e-6, rtol=1e-6)
    assert len({type(layer.mlp.act_fn) for layer in model.model.layers}) == 1  # else each layer is compiled anew


def test_other_activations_stay():
    model = tiny_classifier("llama")
    assert use_sigmoid_gelu(model) == 0

"""Device maps: a module on no device fails in the first forward, one on two devices silently anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.models.device_map import DeviceMapError, even_device_map, validate_device_map


@given(layers=st.integers(1, 90), devices=st.integers(1, 9), tied=st.booleans())
def test_layers_differ_by_one_at_most_and_stay_in_order(layers, devices, tied):
    placement = even_device_map(layers, list(range(devices)), tied=tied)
    owners = [placement[f"model.layers.{i}"] for i in range(layers)]
    assert owners == sorted(owners)
    counts = [owners.count(device) for device in range(min(layers, devices))]
    assert min(counts) >= 1 and max(counts) - min(counts) <= 1
    assert placement["model.embed_tokens"] == owners[0]
    assert placement["model.norm"] == owners[-1]
    assert placement["lm_head"] == (owners[0] if tied else owners[-1])
    validate_device_map(placement, placement, range(devices))


def test_one_device_takes_everything():
    assert set(even_device_map(4, ["cuda:1"]).values()) == {"cuda:1"}


@pytest.mark.parametrize(("layers", "devices"), [(0, [0]), (2, []), (2, [0, 0])])
def test_impossible_requests_are_errors(layers, devices):
    with pytest.raises(ValueError, match="cannot share"):
        even_device_map(layers, devices)


def test_all_problems_are_reported_at_once():
    names = ["model.embed_tokens", "model.layers.0.mlp", "model.layers.1.mlp", "lm_head"]
    wrong = {"model.layers.0": 0, "model.layers.0.mlp": 1, "model.layers.1": "cuda:7", "typo.2": 0, "lm_head": 0}
    with pytest.raises(DeviceMapError) as caught:
        validate_device_map(wrong, names, [0, 1, "cpu"])
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    assert "on no device: model.embed_tokens" in text
    assert "model.layers.0.mlp (by 'model.layers.0' and 'model.layers.0.mlp')" in text
    assert "no such module: typo.2" in text
    assert "no such device: cuda:7 (for model.layers.1); there are: 0, 1, cpu" in text


def test_a_number_and_its_cuda_name_are_one_device():
    validate_device_map({"": "cuda:1"}, ["a", "b.c"], [0, 1])
    validate_device_map({"a": 0, "b": "cuda"}, ["a", "b.c"], ["cuda:0"])


def test_a_name_does_not_cover_its_longer_neighbours():
    """model.layers.1 must not count as covering model.layers.10."""
    with pytest.raises(DeviceMapError, match=r"on no device: model\.layers\.10\.mlp"):
        validate_device_map({"model.layers.1": 0}, ["model.layers.1.mlp", "model.layers.10.mlp"], [0])

"""Placements fit by the numbers, and say why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.inference.placement import (
    PLACEMENTS,
    DeviceRoom,
    ModelNeed,
    PlacementError,
    choose_placement,
)

GIB = 1 << 30
T4 = [DeviceRoom("cuda:0", 15 * GIB), DeviceRoom("cuda:1", 15 * GIB)]
GEMMA_NF4 = ModelNeed("gemma", 6 * GIB, 2 * GIB)
LLAMA_INT8 = ModelNeed("llama", 9 * GIB, 2 * GIB)
GEMMA_FP16 = ModelNeed("gemma", 18 * GIB, 2 * GIB)


@pytest.mark.parametrize(
    ("models", "devices", "name", "orders"),
    [
        ([GEMMA_NF4, LLAMA_INT8], T4, "model-per-device", (("gemma",), ("llama",))),
        ([GEMMA_NF4], T4, "copies", (("gemma",), ("gemma",))),
        ([GEMMA_NF4, LLAMA_INT8], T4[:1], "in-turn", (("gemma", "llama"),)),
        ([GEMMA_NF4, LLAMA_INT8], [DeviceRoom("cuda:0", 80 * GIB)], "copies", (("gemma", "llama"),)),
        (
            [LLAMA_INT8, GEMMA_NF4],
            [DeviceRoom("cuda:0", 10 * GIB), T4[1]],
            "model-per-device",
            (("gemma",), ("llama",)),
        ),
        ([GEMMA_NF4], [DeviceRoom("cuda:0", 4 * GIB), T4[1]], "copies", ((), ("gemma",))),
        ([GEMMA_NF4, LLAMA_INT8], [DeviceRoom("cpu", 64 * GIB)] * 2, "model-per-device", (("gemma",), ("llama",))),
    ],
)
def test_names_and_orders(models, devices, name, orders):
    placement = choose_placement(models, devices)
    assert (placement.name, placement.orders) == (name, orders)
    assert "gemma" in placement.reason or "models" in placement.reason


def test_a_pipeline_only_where_it_is_allowed_and_needed():
    with pytest.raises(
        PlacementError, match=r"needs 20\.0 GiB \(weights 18.*cuda:0 13\.3 GiB usable of 15.*allow_pipeline=True"
    ):
        choose_placement([GEMMA_FP16], T4)
    placement = choose_placement([GEMMA_FP16], T4, allow_pipeline=True)
    assert (placement.name, placement.orders) == ("pipeline", (("gemma",), ("gemma",)))
    assert choose_placement([GEMMA_NF4], T4, allow_pipeline=True).name == "copies"
    with pytest.raises(PlacementError, match="quantise it"):
        choose_placement([ModelNeed("gemma", 40 * GIB, GIB)], T4, allow_pipeline=True)


def test_whether_a_helper_needs_to_drop_its_own_model():
    assert not choose_placement([GEMMA_NF4, LLAMA_INT8], T4).together
    assert choose_placement([GEMMA_NF4, LLAMA_INT8], [DeviceRoom("cuda:0", 40 * GIB)] * 2).together


def test_a_peak_while_loading_counts():
    with pytest.raises(PlacementError):
        choose_placement([ModelNeed("gemma", 6 * GIB, 2 * GIB, peak_bytes=20 * GIB)], T4)


def test_nothing_to_place():
    with pytest.raises(PlacementError, match="0 models on 2 devices"):
        choose_placement([], T4)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), min_size=1, max_size=4),
    st.lists(st.integers(4, 50), min_size=1, max_size=4),
)
def test_whatever_is_placed_fits_and_every_model_has_a_place(needs, rooms):
    models = [ModelNeed(f"m{i}", w * GIB, a * GIB) for i, (w, a) in enumerate(needs)]
    devices = [DeviceRoom(f"cuda:{i}", room * GIB) for i, room in enumerate(rooms)]
    try:
        placement = choose_placement(models, devices)
    except PlacementError:
        assert any(all(m.alone > d.usable for d in devices) for m in models)
        return
    assert placement.name in PLACEMENTS
    assert len(placement.orders) == len(devices)
    assert {name for order in placement.orders for name in order} == {m.name for m in models}
    need = {m.name: m.alone for m in models}
    assert all(need[name] <= d.usable for order, d in zip(placement.orders, devices, strict=True) for name in order)

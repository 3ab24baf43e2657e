"""Placements fit by the numbers, and say why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.environment import Accelerator
from kaggle_utils.inference.placement import PLACEMENTS, ModelNeed, PlacementError, choose_placement
from kaggle_utils.models import rooms
from kaggle_utils.models.rooms import DeviceRoom, device_rooms, host_memory

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
    assert (placement.name, placement.devices, placement.orders) == ("pipeline", ("cuda:0,cuda:1",), (("gemma",),))
    assert "needs 20.0 GiB, more than one device has: 2 stages, on each device gemma 11.0 GiB" in placement.reason
    assert choose_placement([GEMMA_NF4], T4, allow_pipeline=True).name == "copies"
    with pytest.raises(PlacementError, match="quantise it"):
        choose_placement([ModelNeed("gemma", 40 * GIB, GIB)], T4, allow_pipeline=True)


def test_pipelines_take_as_few_devices_as_they_can():
    four = [DeviceRoom(f"cuda:{i}", 15 * GIB) for i in range(4)]
    both = choose_placement([GEMMA_FP16, LLAMA_INT8], four, allow_pipeline=True)
    assert both.devices == ("cuda:0,cuda:1", "cuda:2,cuda:3") and both.orders == (("gemma", "llama"),) * 2
    three = choose_placement([ModelNeed("large", 30 * GIB, GIB)], four, allow_pipeline=True)
    assert three.devices == ("cuda:0,cuda:1,cuda:2",)


def test_the_fullest_stage_decides():
    uneven = ModelNeed("gemma", 18 * GIB, 2 * GIB, stages=(14 * GIB, 9 * GIB))
    three = [DeviceRoom(f"cuda:{i}", 15 * GIB) for i in range(3)]
    assert choose_placement([uneven], three, allow_pipeline=True).devices == ("cuda:0,cuda:1,cuda:2",)
    encoder = ModelNeed("deberta", 18 * GIB, 2 * GIB, stages=())
    with pytest.raises(PlacementError, match=r"Next: quantise it, make packs smaller$"):
        choose_placement([encoder], three, allow_pipeline=True)


@pytest.mark.parametrize(
    ("name", "devices", "orders"),
    [
        ("in-turn", ("cuda:0", "cuda:1"), (("gemma", "llama"),) * 2),
        ("pipeline", ("cuda:0,cuda:1",), (("gemma", "llama"),)),
        ("model-per-device", ("cuda:0", "cuda:1"), (("gemma",), ("llama",))),
    ],
)
def test_a_placement_by_name(name, devices, orders):
    placement = choose_placement([GEMMA_NF4, LLAMA_INT8], T4, name=name)
    assert (placement.name, placement.devices, placement.orders) == (name, devices, orders)


def test_a_placement_by_name_that_does_not_fit():
    with pytest.raises(PlacementError, match=r"'copies' does not fit: gemma needs 8\.0 GiB .*llama needs 11\.0 GiB"):
        choose_placement([GEMMA_NF4, LLAMA_INT8], T4, name="copies")
    with pytest.raises(PlacementError, match="unknown placement 'pipelines'"):
        choose_placement([GEMMA_NF4], T4, name="pipelines")


@pytest.mark.parametrize(
    ("models", "devices", "name", "words"),
    [
        (
            [GEMMA_NF4, LLAMA_INT8],
            T4[:1],
            "model-per-device",
            r"at least 2 models, and a device for each; there is 2 on",
        ),
        ([GEMMA_NF4], T4, "model-per-device", "there is 1 on cuda:0, cuda:1.*'copies' for one model"),
        ([GEMMA_NF4], T4[:1], "pipeline", "over at least 2 devices; there is 1 on cuda:0.*name='auto'"),
        ([GEMMA_NF4, GEMMA_NF4], T4, "auto", r"models are called \['gemma', 'gemma'\]; give each its own name"),
    ],
)
def test_a_placement_that_no_memory_would_make_possible_says_so(models, devices, name, words):
    with pytest.raises(PlacementError, match=words) as caught:
        choose_placement(models, devices, name=name)
    assert "GiB" not in str(caught.value), "it is not a matter of size"


def test_small_sizes_are_readable():
    with pytest.raises(PlacementError, match=r"tiny needs 3\.0 MiB .*MiB usable of 1\.0 MiB"):
        choose_placement([ModelNeed("tiny", 2 << 20, 1 << 20)], [DeviceRoom("cuda:0", 1 << 20)])


def test_whether_a_helper_needs_to_drop_its_own_model():
    assert not choose_placement([GEMMA_NF4, LLAMA_INT8], T4).together
    roomy = choose_placement([GEMMA_NF4, LLAMA_INT8], [DeviceRoom("cuda:0", 40 * GIB)] * 2)
    assert roomy.together and "helps, beside its own" in roomy.reason
    merging = ModelNeed("gemma", 6 * GIB, 2 * GIB, peak_bytes=32 * GIB)
    tight = choose_placement([merging, LLAMA_INT8], [DeviceRoom("cuda:0", 40 * GIB)] * 2)
    assert not tight.together, "it would be loaded, peak and all, beside the other"


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
    assert len(placement.orders) == len(placement.devices) == len(devices)
    assert {name for order in placement.orders for name in order} == {m.name for m in models}
    need = {m.name: m.alone for m in models}
    assert all(need[name] <= d.usable for order, d in zip(placement.orders, devices, strict=True) for name in order)


def card(index, gib=15, capability=(7, 5)):
    return Accelerator(index, "Tesla T4", gib * GIB, capability, bf16=capability >= (8, 0))


def test_rooms_of_this_machine(monkeypatch):
    monkeypatch.setattr(rooms, "accelerators", lambda: [card(0), card(1, 40, (8, 0))])
    assert device_rooms() == [DeviceRoom("cuda:0", 15 * GIB, (7, 5)), DeviceRoom("cuda:1", 40 * GIB, (8, 0))]
    assert device_rooms(["cuda:1"]) == [DeviceRoom("cuda:1", 40 * GIB, (8, 0))]
    assert device_rooms(["cuda", "cuda:0"]) == [DeviceRoom("cuda:0", 15 * GIB // 2, (7, 5))] * 2
    planned = DeviceRoom("cuda:5", GIB)
    assert device_rooms([planned, "cpu"]) == [planned, DeviceRoom("cpu", host_memory())]
    with pytest.raises(ValueError, match=r"\['cuda:2', 'tpu'\] are not here; there are cuda:0, cuda:1, cpu"):
        device_rooms(["cuda:0", "cuda:2", "tpu"])
    for empty in ([], "cuda:0"):
        with pytest.raises(ValueError, match="expected a list"):
            device_rooms(empty)


def test_rooms_without_a_gpu(monkeypatch):
    monkeypatch.setattr(rooms, "accelerators", list)
    assert [room.name for room in device_rooms()] == ["cpu"]
    two = device_rooms(["cpu", "cpu"])
    assert two == [DeviceRoom("cpu", host_memory() // 2)] * 2


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    for content, wanted in (("max\n", None), (f"{GIB}\n", GIB)):
        (tmp_path / "memory.max").write_text(content)
        monkeypatch.setattr(rooms, "_LIMITS", (str(tmp_path / "memory.max"), str(tmp_path / "none")))
        assert host_memory() == wanted if wanted else host_memory() > GIB

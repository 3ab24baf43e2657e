"""A local Ray cluster for a block: items once, in any order, bounded, repeated when a process dies; nothing stays."""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from itertools import pairwise

import psutil
import pytest
from cluster_tasks import (
    begun_and_done,
    die_first,
    fail_on_threes,
    make,
    make_never,
    never_ends,
    wait_and_square,
    with_made,
)

from kaggle_utils.cluster import ClusterTaskError, connected, run_on_workers, run_tasks, task_slots

CORES = 2


def ray_processes() -> list[psutil.Process]:
    """Those that this process has started, and theirs."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE
            and any("ray" in word for word in p.cmdline()[:3])]  # fmt: skip


def until(true, seconds=30.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


@pytest.fixture(scope="module")
def ray():
    """One cluster for all tests here; that it is gone after a block that was interrupted is seen at the end."""
    pytest.importorskip("ray")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), connected(num_cpus=CORES) as module:
        assert module.is_initialized() and ray_processes()
        yield module
        raise KeyboardInterrupt
    assert not module.is_initialized()
    assert signal.getsignal(signal.SIGTERM) == before
    assert until(lambda: not ray_processes()), f"left behind: {ray_processes()}"


def idle(ray) -> bool:
    return ray.available_resources().get("CPU") == CORES


# --- without a cluster ---------------------------------------------------------------------------------------------


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (
        lambda: run_tasks(fail_on_threes, [1]),
        lambda: run_on_workers(list, with_made, [1]),
        lambda: connected().__enter__(),
    ):
        with pytest.raises(ModuleNotFoundError, match=r"kaggle-notebook-utils\[cluster\]"):
            call()


@pytest.mark.parametrize(
    ("address", "error", "match"),
    [
        ("localhost:1", ConnectionError, "no Ray cluster answers at 'localhost:1'.*ray start --head"),
        ("ray://localhost:1", ConnectionError, "no Ray cluster answers"),
        ("localhost", ValueError, "expected local, auto, host:6379"),
        ("auto", ConnectionError, "localhost:2"),
    ],
)
def test_an_address_at_which_nothing_runs_is_said_at_once(address, error, match, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("it has tried"))
    monkeypatch.setenv("RAY_ADDRESS", "localhost:2")
    started = time.monotonic()
    with pytest.raises(error, match=match), connected(address):
        pass
    assert time.monotonic() - started < 5


def test_all_that_is_wrong_with_a_task_is_said():
    with pytest.raises(ValueError, match=r"num_gpus is -1.*retries is -2.*in_flight is 0"):
        run_tasks(fail_on_threes, [1], num_gpus=-1, retries=-2, in_flight=0)
    with pytest.raises(ValueError, match="both 0"):
        run_on_workers(list, with_made, [1], num_cpus=0)
    with pytest.raises(ValueError, match="num_cpus=3 is for a cluster that is started"), connected("a:1", num_cpus=3):
        pass


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_each_item_comes_once_as_it_finishes(ray, tmp_path):
    """The first ends only when half of the others have come: it holds nobody up."""
    items = [(number, tmp_path / "half" if number == 0 else None) for number in range(40)]
    found = []
    for result in run_tasks(wait_and_square, iter(items), shared={"offset": 5}):
        found.append(result)
        if len(found) == 20:
            (tmp_path / "half").touch()
    assert sorted(found) == [(number, number * number + 5) for number in range(40)]
    assert found.index((0, 5)) >= 20


def test_a_connection_that_is_there_is_used_and_left_alone(ray):
    address = ray.get_runtime_context().gcs_address
    with connected("local") as same:
        assert same.get_runtime_context().gcs_address == address
    assert ray.is_initialized()
    assert task_slots(ray) == CORES and task_slots(ray, num_cpus=0.5) == 4 and task_slots(ray, num_gpus=1) == 0


def test_what_raises_is_told_after_the_others_are_done(ray):
    found = []
    with pytest.raises(
        ClusterTaskError, match=r"7 of 20 tasks failed(.|\n)*item 3: KeyError: 'no 3'(.|\n)*15, 18"
    ) as e:
        found += [number for number, _ in run_tasks(fail_on_threes, range(20))]
    del found
    assert list(e.value.failures) == [0, 3, 6, 9, 12, 15, 18]
    assert isinstance(e.value.failures[6], KeyError) and isinstance(e.value.__cause__, KeyError)


def test_items_whose_process_dies_are_tried_again(ray, tmp_path):
    items = [(number, tmp_path, deaths) for number, deaths in enumerate([0, 1, 0])]
    assert sorted(run_tasks(die_first, items)) == [(0, 1), (1, 2), (2, 1)]
    found = []
    with pytest.raises(ClusterTaskError, match="item 1: ") as error:
        for number, _ in run_tasks(die_first, [(7, tmp_path, 0), (8, tmp_path, 9), (9, tmp_path, 0)], retries=0):
            found.append(number)
    assert sorted(found) == [0, 2] and list(error.value.failures) == [1]


@pytest.mark.parametrize("in_flight", [1, 3, None])
def test_no_more_items_are_read_than_may_be_on_their_way(ray, in_flight):
    read, most, found = 0, 0, []

    def items():
        nonlocal read, most
        for number in range(20):
            read += 1
            most = max(most, read - len(found))
            yield number

    for _, times in run_tasks(begun_and_done, items(), in_flight=in_flight):
        found.append(times)
    assert most == (in_flight or 2 * CORES) + 1, "and the one whose result is handed over"
    found.sort()
    overlapping = sum(later[0] < before[1] for before, later in pairwise(found))
    assert in_flight != 1 or overlapping == 0


def test_who_stops_reading_frees_the_cluster(ray, tmp_path):
    items = ((number, tmp_path / "never" if number else None) for number in range(10))
    results = run_tasks(wait_and_square, items, shared={"offset": 5})
    assert next(results) == (0, 5)
    results.close()
    assert until(lambda: idle(ray)), ray.available_resources()


def test_a_task_for_which_no_machine_has_room_is_refused(ray):
    with pytest.raises(ValueError, match="'num_gpus': 1"):
        list(run_tasks(never_ends, [1], num_gpus=1))
    with pytest.raises(ValueError, match="'num_cpus': 3"):
        list(run_on_workers(partial(make, "."), with_made, [1], num_cpus=3))


# --- workers that make something once --------------------------------------------------------------------------------


def test_workers_make_once_lost_items_go_to_others_and_failures_are_told_in_the_end(ray, tmp_path):
    """Item 4 kills its worker once, 11 whenever it is tried, 7 is none; whoever waits behind them is not blamed."""
    read, found = [], {}
    items = [(number, tmp_path, {4: 1, 11: 9}.get(number, 0)) if number != 7 else "none" for number in range(30)]
    with pytest.raises(ClusterTaskError, match="2 of 30 tasks failed") as error:
        for number, result in run_on_workers(
            partial(make, tmp_path), with_made, (read.append(1) or item for item in items), retries=1
        ):
            assert len(read) - len(found) <= 2 * CORES + CORES + 4, "and those that failed or were lost"
            found[number] = result
    assert sorted(found) == sorted(set(range(30)) - {7, 11})
    assert list(error.value.failures) == [7, 11] and isinstance(error.value.failures[7], ValueError)
    assert found[4][1] == 2, "given to another worker after the first has died"
    assert len(list(tmp_path.glob("11-*"))) == 2
    made = {int(path.name.split("-")[2]) for path in tmp_path.glob("made-by-*")}
    assert {pid for pid, _ in found.values()} <= made
    assert len(made) == len(list(tmp_path.glob("made-by-*"))) <= CORES + 3, "one a worker, and one for each that died"
    assert until(lambda: idle(ray)), "workers end with the last item"


def test_what_a_worker_cannot_make_is_said(ray, tmp_path):
    with pytest.raises(RuntimeError, match=r"could not start(.|\n)*no model at /nowhere"):
        list(run_on_workers(make_never, with_made, [(1, tmp_path, 0)]))
    assert list(run_on_workers(make_never, with_made, [])) == [], "nobody is started for nothing"

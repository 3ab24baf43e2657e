"""The robot asks a chain in order, and the guard leaves behind what takes too long."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref

import pytest

from kaggle_utils.q20.guard import Guard, TimeLimitError, time_left
from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.robot import MODES, Robot, model_of


class Says:
    def __init__(self, text):
        self.text, self.asked = text, 0

    def reply(self, obs):
        self.asked += 1
        return self.text


@pytest.mark.parametrize("mode", MODES)
def test_the_first_reply_wins_and_later_strategies_are_not_asked(mode):
    first, second, third = Says(None), Says("two"), Says("three")
    robot = Robot(**{mode: [first, second, third]})
    assert robot.on(mode, Observation("ask")) == "two"
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


def test_a_silent_chain_names_who_was_asked():
    with pytest.raises(LookupError, match=r"'guess'.*Says, Says"):
        Robot(guessing=[Says(None), Says(None)]).on("guessing", Observation("guess"))


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match="asking, answering, guessing"):
        Robot().on("ask", Observation("ask"))


def test_an_error_of_a_strategy_reaches_the_caller():
    class Broken:
        def reply(self, obs):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Robot(asking=[Broken(), Says("later")]).on("asking", Observation("ask"))


def test_call_decides_how_strategies_are_asked():
    def skip_one(strategy, obs):
        return None if strategy.text == "one" else strategy.reply(obs)

    robot = Robot(asking=[Says("one"), Says("two")])
    assert robot.on("asking", Observation("ask"), call=skip_one) == "two"


def test_model_of_sees_the_generator_attribute_only():
    strategy = Says("x")
    assert model_of(strategy) is None
    strategy.generator = "a model"
    assert model_of(strategy) == "a model"


def test_guard_passes_errors_on_unchanged():
    with pytest.raises(KeyError, match="k"):
        Guard().call(lambda: {}["k"], seconds=5)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_guard_turns_what_would_end_the_process_into_an_ordinary_error(error):
    def end():
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        Guard().call(end, seconds=5)


def test_guard_leaves_a_slow_call_and_knows_when_it_is_back():
    guard, release, resource = Guard(), threading.Event(), object()
    started = time.monotonic()
    with pytest.raises(TimeLimitError):
        guard.call(lambda: release.wait(60), seconds=0.1, resource=resource)
    assert time.monotonic() - started < 5
    assert guard.hangs(resource)
    assert not guard.hangs(object())
    release.set()
    deadline = time.monotonic() + 10
    while guard.hangs(resource) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not guard.hangs(resource)


def test_a_call_can_see_how_long_it_has():
    assert 0 < Guard().call(time_left, seconds=30) <= 30
    assert time_left() == float("inf")


def test_guard_keeps_nothing_of_a_failed_call_alive():
    """After an out-of-memory error the tensors in the traceback must be freed without waiting for the collector."""

    class Tensor:
        pass

    held = []

    def fail():
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        raise MemoryError("out of memory")

    gc.disable()
    try:
        with contextlib.suppress(MemoryError):
            Guard().call(fail, seconds=5)
        deadline = time.monotonic() + 5  # the worker thread drops its frame a moment after the caller goes on
        while held[0]() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held[0]() is None
    finally:
        gc.enable()

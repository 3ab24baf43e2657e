"""Loading behind the back of a game: nobody waits longer than needed, nobody loads twice."""

from __future__ import annotations

import os
import threading
import time

import pytest

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import user
from kaggle_utils.inference import background
from kaggle_utils.inference.background import BackgroundGenerator, LoadError, shared_generator

HELLO = [[user("hello")]]


class Recorder:
    """A TextGenerator that notes its calls and notices two at once."""

    def __init__(self, seconds=0.0):
        self.seconds, self.settings, self.inside, self.overlapped = seconds, [], 0, False

    def _work(self):
        self.inside += 1
        self.overlapped |= self.inside > 1
        time.sleep(self.seconds)
        self.inside -= 1

    def generate(self, conversations, settings=None):
        self._work()
        self.settings.append(settings)
        return [conversation[0].content.upper() for conversation in conversations]

    def yes_no(self, conversations):
        self._work()
        return [0.25] * len(conversations)


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    monkeypatch.setattr(background, "_SHARED", {})
    monkeypatch.setattr(background, "_SHARED_OPTIONS", {})


@pytest.fixture
def gate():
    """An event that a load waits for; opened at the end, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


def gated(gate, result):
    def load():
        gate.wait(30)
        if isinstance(result, BaseException):
            raise result
        return result

    return load


def test_it_is_a_text_generator():
    assert isinstance(BackgroundGenerator(Recorder, name="m"), TextGenerator)


def test_a_call_during_the_load_waits_for_it_and_no_longer(gate):
    generator = BackgroundGenerator(gated(gate, Recorder()), name="m")
    results = []
    caller = threading.Thread(target=lambda: results.append(generator.generate(HELLO)))
    caller.start()
    time.sleep(0.05)
    assert not generator.ready and results == []
    gate.set()
    caller.join(5)
    assert results == [["HELLO"]] and generator.ready and generator.error is None
    assert generator.yes_no(HELLO * 2) == [0.25, 0.25]


def test_wait_honours_its_timeout(gate):
    generator = BackgroundGenerator(gated(gate, Recorder()), name="m")
    started = time.monotonic()
    assert generator.wait(0.1) is False
    assert 0.1 <= time.monotonic() - started < 2
    gate.set()
    assert generator.wait(5) is True


def test_a_failed_load_is_raised_by_every_call_with_its_cause(gate):
    cause = OSError("no space")
    generator = BackgroundGenerator(gated(gate, cause), name="model-x")
    gate.set()
    assert generator.wait(5) is False
    assert generator.error is cause
    for call in (generator.generate, generator.yes_no, generator.generate):
        with pytest.raises(LoadError, match="model-x could not be loaded: OSError: no space") as caught:
            call(HELLO)
        assert caught.value.__cause__ is cause
    with pytest.raises(LoadError):
        generator.generate(HELLO, GenerationSettings(time_limit=5))


def test_the_time_limit_counts_the_wait_for_the_load(gate):
    generator = BackgroundGenerator(gated(gate, Recorder()), name="m")
    started = time.monotonic()
    assert generator.generate(HELLO, GenerationSettings(time_limit=0.1)) == [""]
    assert time.monotonic() - started < 2


def test_the_time_limit_counts_the_wait_for_other_callers():
    model = Recorder(seconds=0.6)
    generator = BackgroundGenerator(lambda: model, name="m")
    assert generator.wait(5)
    other = threading.Thread(target=lambda: generator.yes_no(HELLO))
    other.start()
    time.sleep(0.1)
    assert generator.generate(HELLO, GenerationSettings(time_limit=0.1)) == [""]
    assert generator.generate(HELLO, GenerationSettings(time_limit=30)) == ["HELLO"]
    other.join()
    assert 20 < model.settings[0].time_limit < 29.8, "what is left of the limit is what the model gets"


def test_callers_take_turns():
    model = Recorder(seconds=0.02)
    generator = BackgroundGenerator(lambda: model, name="m")
    calls = [lambda: generator.generate(HELLO), lambda: generator.yes_no(HELLO)]
    threads = [threading.Thread(target=calls[i % 2]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not model.overlapped


def test_four_seats_share_one_load(tmp_path):
    loads = []

    def load():
        loads.append(1)
        time.sleep(0.1)
        return Recorder()

    link = tmp_path / "link"
    (tmp_path / "model").mkdir()
    link.symlink_to(tmp_path / "model")
    paths = [tmp_path / "model", str(tmp_path / "model"), link, os.path.relpath(tmp_path / "model")]
    barrier, found = threading.Barrier(4), []

    def seat(path):
        barrier.wait()
        generator = shared_generator(path, load=load)
        found.append((generator, generator.generate(HELLO)))

    threads = [threading.Thread(target=seat, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]
    assert len({id(generator) for generator, _ in found}) == 1
    assert [reply for _, reply in found] == [["HELLO"]] * 4


def test_two_folders_are_two_models(tmp_path):
    first = shared_generator(tmp_path / "a", load=Recorder)
    assert shared_generator(tmp_path / "b", load=Recorder) is not first


def test_other_options_for_a_model_in_memory_are_reported(tmp_path, caplog):
    first = shared_generator(tmp_path, load=Recorder, quantization="nf4")
    assert shared_generator(tmp_path, load=Recorder, quantization="int8") is first
    assert "already in memory" in caplog.text and "int8" in caplog.text


def test_after_a_failure_the_next_request_loads_again(tmp_path):
    def fail():
        raise MemoryError("full")

    first = shared_generator(tmp_path, load=fail)
    assert first.wait(5) is False and isinstance(first.error, MemoryError)
    second = shared_generator(tmp_path, load=Recorder)
    assert second is not first and second.generate(HELLO) == ["HELLO"]


def test_the_default_load_is_a_model_folder(tiny_llama):
    generator = shared_generator(tiny_llama, device_map="cpu")
    assert generator.wait(60), generator.error
    assert 0 <= generator.yes_no(HELLO)[0] <= 1
    missing = shared_generator(tiny_llama / "nowhere")
    with pytest.raises(LoadError, match="no model folder"):
        missing.generate(HELLO)

"""Layers are compiled where that pays: measured, remembered, and never at the cost of a run."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier  # noqa: E402

from kaggle_utils.models.compiling import choose_by_measuring, is_compiler_error  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402

ROWS = [np.arange(1, n + 1) for n in (40, 30, 20, 10)]


class Timed:
    """Takes the time it is told to, the first time after a change of way longer."""

    def __init__(self, *, plain, compiled, warm=0.0, off=0.0, fails=False):
        self.seconds, self.warm, self.off, self.fails = {"plain": plain, "compiled": compiled}, warm, off, fails
        self.compiled, self.used = False, []

    def use(self, choice):
        self.compiled = choice == "compiled"
        self.used.append(choice)
        self.fresh = self.compiled

    def score(self, rows):
        if self.compiled and self.fails:
            self.compiled = False
        time.sleep(self.seconds["compiled" if self.compiled else "plain"] + self.warm * self.fresh)
        self.fresh = False
        return np.full((len(rows), 3), self.off if self.compiled else 0.0, np.float32)


def choose(scorer, *, remaining_tokens=100_000, seconds_left=math.inf, worth_trying=1.0):
    return choose_by_measuring(
        scorer, ROWS, remaining_tokens=remaining_tokens, seconds_left=seconds_left, worth_trying=worth_trying,
        tolerance=lambda logits: 0.1,
    )  # fmt: skip


def test_what_is_faster_is_kept():
    choice, reason = choose(Timed(plain=0.04, compiled=0.02, warm=0.1))
    assert choice == "compiled" and "took 0.0" in reason and "100 tokens" in reason
    choice, reason = choose(Timed(plain=0.02, compiled=0.04))
    assert choice == "plain" and reason.endswith("too little to gain")


def test_compiled_layers_that_lose_finite_logits_are_not_used():
    """NaN is no small difference: a kernel that overflows or divides by nothing must not be chosen for its speed."""
    choice, reason = choose(Timed(plain=0.04, compiled=0.001, off=math.nan))
    assert choice == "plain" and "12 of 12 logits were not finite" in reason


@pytest.mark.parametrize("limits", [{"remaining_tokens": 200}, {"seconds_left": 0.5}], ids=["work", "time"])
def test_with_little_left_the_compiler_is_not_even_tried(limits):
    scorer = Timed(plain=0.02, compiled=0.001)
    choice, reason = choose(scorer, **limits)
    assert choice == "plain" and "does not pay" in reason and scorer.used == ["plain"]


def test_more_compiling_than_gain_is_not_worth_it():
    # 2 s of work; half a second of that would be saved, and compiling took 1.5 s.
    assert choose(Timed(plain=0.02, compiled=0.015, warm=1.5), remaining_tokens=10_000)[0] == "plain"


def test_compiled_layers_that_are_wrong_or_fail_are_not_used():
    choice, reason = choose(Timed(plain=0.02, compiled=0.001, off=0.5))
    assert choice == "plain" and "off by 0.5, allowed are 0.1" in reason
    assert choose(Timed(plain=0.02, compiled=0.001, fails=True)) == ("plain", "the layers could not be compiled")


@pytest.fixture
def backend(monkeypatch):
    """Sets what compiled layers run on: a real compiler takes a minute on a small CPU."""
    calls = []

    def choose_backend(function):
        def compile(self, **options):
            calls.append(options)
            self._compiled_call_impl = torch.compile(self._call_impl, backend=function, **options)

        monkeypatch.setattr(torch.nn.Module, "compile", compile)
        torch._dynamo.reset()
        return calls

    return choose_backend


def test_on_a_cpu_nothing_is_compiled_unless_asked(backend):
    calls = backend("eager")
    scorer = PackedClassifier(tiny_classifier("llama"))
    assert scorer.tune(ROWS, remaining_tokens=10**9) == "plain"
    assert calls == [] and scorer.notes == []
    asked = PackedClassifier(tiny_classifier("llama"), compile=True)
    assert len(calls) == 2 and asked.compiled and asked.tune(ROWS, remaining_tokens=10**9) == "compiled"


def test_a_real_model_is_measured_and_says_what_it_found(backend):
    backend("eager")
    scorer = PackedClassifier(tiny_classifier("gemma2", num_hidden_layers=1))
    expected = scorer.score(ROWS)
    choice = scorer.tune(ROWS, remaining_tokens=10**9, on_cpu=True)
    assert choice in ("plain", "compiled") and scorer.compiled == (choice == "compiled")
    assert len(scorer.notes) == 1 and "100 tokens took" in scorer.notes[0]
    np.testing.assert_allclose(scorer.score(ROWS), expected, atol=1e-5)
    scorer.use("compiled")
    scorer.self_check(ROWS)
    assert len(scorer.notes) == 1, "compiled layers gave other logits"
    scorer.use(choice)
    assert scorer.tune(ROWS, remaining_tokens=10**9, on_cpu=True) == choice and len(scorer.notes) == 1


def test_a_choice_made_before_is_followed_without_measuring(backend):
    backend("eager")
    scorer = PackedClassifier(tiny_classifier("llama"))
    scorer.adopt("compiled")
    assert scorer.compiled and scorer.tune(ROWS, remaining_tokens=10**9) == "compiled"
    for other in ("plain", ""):
        scorer.adopt(other)
        assert not scorer.compiled


@pytest.mark.parametrize("how", ["asked", "adopted", "measured"])
def test_a_compiler_that_fails_costs_a_note(backend, how):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here\nand a long story\nthat nobody reads")

    backend(broken)
    model = tiny_classifier("llama", num_hidden_layers=1)
    scorer = PackedClassifier(model, compile=True if how == "asked" else "auto")
    if how == "adopted":
        scorer.adopt("compiled")
    if how == "measured":
        assert scorer.tune(ROWS, remaining_tokens=10**9, on_cpu=True) == "plain"
    plain = PackedClassifier(tiny_classifier("llama", num_hidden_layers=1), compile=False).score(ROWS)
    np.testing.assert_array_equal(scorer.score(ROWS), plain)
    assert "no compiler here" in scorer.notes[0] and "nobody reads" not in scorer.notes[0]
    assert not scorer.compiled


def test_a_python_without_a_compiler_costs_a_note(monkeypatch):
    def compile(self, **options):
        raise RuntimeError("Dynamo is not supported on Python 4.0")

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    scorer = PackedClassifier(tiny_classifier("llama"), compile=True)
    assert not scorer.compiled and "Python 4.0" in scorer.notes[0]


def test_memory_is_the_runs_business_not_the_compilers():
    class InductorError(RuntimeError):
        __module__ = "torch._inductor.exc"

    assert is_compiler_error(InductorError("no triton"))
    assert not is_compiler_error(InductorError("CUDA out of memory. Tried to allocate 2 GiB"))
    try:
        try:
            raise InductorError("no triton")
        except InductorError as error:
            raise ValueError("wrapped") from error
    except ValueError as wrapped:
        assert is_compiler_error(wrapped)


def test_memory_that_runs_out_while_measuring_leaves_it_plain(monkeypatch):
    scorer = PackedClassifier(tiny_classifier("llama"))

    def full(rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "launch", full)
        assert scorer.tune(ROWS, remaining_tokens=10**9, on_cpu=True) == "plain"
    assert "out of memory" in scorer.notes[0]
    assert scorer.score(ROWS).shape == (4, 3)


def test_compile_is_true_false_or_auto():
    with pytest.raises(ValueError, match="compile is 'yes'"):
        PackedClassifier(tiny_classifier("llama"), compile="yes")


def test_the_operations_of_a_token_are_known():
    model = tiny_classifier("llama")
    weights = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2)
    scorer = PackedClassifier(model)
    assert scorer.flops_per_token == 2 * weights
    model.config.model_type = "another"
    assert scorer.flops_per_token == 2 * weights

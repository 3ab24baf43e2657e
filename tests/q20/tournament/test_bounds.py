"""The bounds against known values, a general solver, exhaustive search in small and a questioner that attains them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kaggle_utils.q20.tournament.bounds import final_guess_bound, free_guess_bound

FLIPS = (0.0, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30)
PUBLISHED = {  # objects: (one final guess, a free guess every round), computed before by other code
    1_000: ((1, 0.998, 0.968, 0.817, 0.583, 0.357, 0.088), (1, 1.00, 0.997, 0.960, 0.850, 0.674, 0.302)),
    1_128: ((1, 0.997, 0.962, 0.797, 0.558, 0.336, 0.081), (1, 1.00, 0.996, 0.951, 0.831, 0.648, 0.282)),
    2_000: ((1, 0.995, 0.941, 0.729, 0.472, 0.263, 0.055), (1, 1.00, 0.991, 0.917, 0.754, 0.547, 0.204)),
    15_113: ((1, 0.954, 0.784, 0.464, 0.234, 0.104, 0.015), (1, 0.994, 0.938, 0.721, 0.465, 0.261, 0.059)),
}


@pytest.mark.parametrize("objects", PUBLISHED)
def test_bounds_equal_the_known_table(objects):
    final, free = PUBLISHED[objects]
    assert [final_guess_bound(objects, flip) for flip in FLIPS] == pytest.approx(final, abs=6e-4)
    assert [free_guess_bound(objects, flip) for flip in FLIPS] == pytest.approx(free, abs=6e-3)


@pytest.mark.parametrize("objects, rounds", [(1_128, 20), (35_000, 20), (7, 5), (3, 1), (2**20, 20)])
@pytest.mark.parametrize("flip", [0.0, 0.05, 0.2, 0.5])
def test_taking_the_fewest_errors_first_solves_the_linear_programme(objects, rounds, flip):
    """The greedy solution is not the optimum that a general solver finds."""
    optimize = pytest.importorskip("scipy.optimize")
    index = {cell: number for number, cell in enumerate((t, w) for t in range(1, rounds + 1) for w in range(t + 1))}
    count = len(index)  # variables: won [cells], then left open [cells]
    value, equal, at_most = np.zeros(2 * count), np.zeros((count, 2 * count)), np.zeros((rounds, 2 * count))
    reached = np.zeros(count)
    for (t, w), cell in index.items():
        value[cell] = -(flip**w) * (1 - flip) ** (t - w) * 2.0 ** (t - rounds)  # scaled: the solver has a tolerance
        equal[cell, [cell, count + cell]] = 1
        reached[cell] = 0.5 if t == 1 else 0
        for before in ((t - 1, w), (t - 1, w - 1)):
            if before in index:
                equal[cell, count + index[before]] = -0.5
        at_most[t - 1, cell] = 1
    # shares of 2**t, so that all numbers are of one size; a share at t is worth 2**t times its probability
    worth = value * 2.0**rounds
    solved = optimize.linprog(worth, at_most, np.full(rounds, 1 / objects), equal, reached)
    assert solved.status == 0
    assert free_guess_bound(objects, flip, rounds=rounds) == pytest.approx(-solved.fun, abs=1e-6)


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("free", [False, True], ids=["final", "free"])
def test_no_questioner_of_a_small_game_beats_its_bound(flip, free):
    """Four keywords, three questions: the best of every adaptive plan, found by dynamic programming."""
    best = _best_plan(np.full(4, 0.25), 3, flip, free)
    bound = (free_guess_bound if free else final_guess_bound)(4, flip, rounds=3)
    assert best <= bound + 1e-12
    assert best >= 0.9 * bound  # and the bound is not far above


def _best_plan(joint, left, flip, free):
    """Highest probability to win; ``joint`` is P(keyword, transcript so far, not won yet)."""
    if left == 0:
        return 0.0 if free else joint.max()
    best = 0.0
    for yes in itertools.product([0.0, 1.0], repeat=len(joint) - 1):
        p_yes = np.abs(np.array([0.0, *yes]) - flip)
        value = 0.0
        for after in (joint * p_yes, joint * (1 - p_yes)):
            guess = int(after.argmax()) if free else None
            hit = after[guess] if free else 0.0
            rest = np.where(np.arange(len(after)) == guess, 0.0, after) if free else after
            value += hit + _best_plan(rest, left - 1, flip, free)
        best = max(best, value)
    return best


def test_limits():
    assert final_guess_bound(2**20, 0) == free_guess_bound(2**20, 0) == 1
    assert final_guess_bound(2**21, 0) == 0.5  # and with a guess every round a word more for every shorter transcript
    assert free_guess_bound(2**21, 0) == pytest.approx((2**21 - 2) / 2**21)
    assert final_guess_bound(100, 0.5) == pytest.approx(0.01)  # answers that say nothing
    assert free_guess_bound(100, 0.5) == pytest.approx(0.20)  # twenty different guesses
    assert final_guess_bound(1128, 0.9) == pytest.approx(final_guess_bound(1128, 0.1))  # a liar tells as much


def test_more_noise_or_more_keywords_never_help():
    for bound in (final_guess_bound, free_guess_bound):
        for values in ([bound(1128, flip) for flip in np.linspace(0, 0.5, 26)],
                       [bound(count, 0.1) for count in (1, 2, 10, 1_000, 10**5, 10**9)]):  # fmt: skip
            assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values))


def test_unequal_keywords():
    """Weights that are equal give the bound of their number; a keyword of all the weight is always found."""
    for bound in (final_guess_bound, free_guess_bound):
        assert bound(np.full(1128, 3.0), 0.1) == pytest.approx(bound(1128, 0.1))
        assert bound([5.0], 0.5) == bound([0.0, 1.0], 0.5) == 1.0
        assert bound([3, 1], 0.0, rounds=1) == 1.0
    assert final_guess_bound([3, 1], 0.4, rounds=1) == pytest.approx(0.75)  # the answer tells less than the prior
    assert final_guess_bound([3, 2], 0.3, rounds=1) == pytest.approx(0.7)
    assert free_guess_bound([3, 2], 0.3, rounds=1) == pytest.approx(0.7)
    assert free_guess_bound([3, 1], 0.4, rounds=2) == 1.0  # two guesses for two keywords


def test_every_wrong_argument_is_named():
    with pytest.raises(ValueError, match=r"objects is 0.*rounds is 0.*flip is 1\.5"):
        final_guess_bound(0, 1.5, rounds=0)
    with pytest.raises(ValueError, match="flip is nan"):
        free_guess_bound(10, float("nan"))

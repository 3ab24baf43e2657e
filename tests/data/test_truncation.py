"""Policies on token lists: the budget is never exceeded, and each keeps what it promises to keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.data.pairs import FIELDS
from kaggle_utils.data.shares import allocate_budget, allocate_by_length
from kaggle_utils.data.truncation import TRUNCATION, Piece, truncation_policy

MARKER = np.array([-1, -2], dtype=np.int32)


def row(turns, literals=(2, 3, 3)):
    """Pieces in field layout with ids that tell where each token came from: field * 10,000 + turn * 1,000 + n."""
    pieces = []
    for number, (field, lengths) in enumerate(zip(FIELDS, turns, strict=True), 1):
        pieces.append(Piece(np.arange(literals[number - 1], dtype=np.int32) + number * 100))
        pieces += [
            Piece(np.arange(n, dtype=np.int32) + number * 10_000 + turn * 1_000, field, turn)
            for turn, n in enumerate(lengths)
        ]
    return pieces


def by_round(turns, literal=2):
    pieces = []
    for turn, lengths in enumerate(turns):
        for number, (field, n) in enumerate(zip(FIELDS, lengths, strict=True), 1):
            pieces.append(Piece(np.arange(literal, dtype=np.int32) + number * 100, None, turn))
            pieces.append(Piece(np.arange(n, dtype=np.int32) + number * 10_000 + turn * 1_000, field, turn))
    return pieces


def cut(name, pieces, budget, marker=MARKER):
    runs = TRUNCATION[name](pieces, budget, marker)
    return np.concatenate([np.empty(0, dtype=np.int32), *runs]).tolist()


def whole(pieces):
    return [int(i) for piece in pieces for i in piece.ids]


def field(ids, number):
    return [i for i in ids if i // 10_000 == number]


lengths = st.lists(st.integers(0, 200), max_size=4)
rows = st.tuples(lengths, lengths, lengths).map(row)
rounds = st.lists(st.tuples(*[st.integers(0, 200)] * 3), max_size=4).map(by_round)


@given(st.one_of(rows, rounds), st.integers(0, 900), st.sampled_from(["right", "left", "rounds"]))
def test_no_policy_exceeds_the_budget(pieces, budget, name):
    ids = cut(name, pieces, budget)
    assert len(ids) <= budget
    if len(whole(pieces)) <= budget:
        assert ids == whole(pieces)


@given(rows, st.integers(0, 900), st.sampled_from(["middle", "thirds", "proportional"]))
def test_no_policy_by_field_exceeds_the_budget_or_reorders(pieces, budget, name):
    ids = cut(name, pieces, budget)
    assert len(ids) <= budget
    kept = [i for i in ids if i >= 0]
    everything = iter(whole(pieces))
    assert all(i in everything for i in kept), "tokens out of order"
    if len(whole(pieces)) <= budget and name != "thirds":
        assert ids == whole(pieces)


@given(rows, st.integers(0, 900))
def test_right_and_left_are_slices(pieces, budget):
    assert cut("right", pieces, budget) == whole(pieces)[:budget]
    assert cut("left", pieces, budget) == (whole(pieces)[-budget:] if budget else [])


@given(rows, st.integers(8, 900), st.sampled_from(["middle", "proportional"]))
def test_short_fields_stay_whole_and_no_room_is_wasted(pieces, budget, name):
    ids = cut(name, pieces, budget)
    sizes = [len(field(whole(pieces), n)) for n in (1, 2, 3)]
    fair = (budget - 8) // 3
    for number, size in enumerate(sizes, 1):
        if size <= fair:
            assert len(field(ids, number)) == size
    assert len(ids) == min(budget, len(whole(pieces)))


def test_middle_keeps_both_ends_with_the_marker_between():
    ids = cut("middle", row(([5], [50], [50])), 8 + 5 + 20 + 21)
    assert field(ids, 1) == whole(row(([5], [], [])))[2:7]
    a = ids[ids.index(200) + 3 : ids.index(300)]
    # 20 or 21 tokens each: half from the start, the marker, half from the end
    assert a[0] == 20_000 and a[-1] == 20_049 and a[10:12] == [-1, -2] and len(a) == 21
    assert a[:10] == list(range(20_000, 20_010)) and a[12:] == list(range(20_041, 20_050))


def test_thirds_do_not_lend_room():
    ids = cut("thirds", row(([5], [50], [50])), 8 + 60)
    assert [len(field(ids, n)) for n in (1, 2, 3)] == [5, 20, 20]
    assert [len(field(cut("thirds", row(([5], [10], [50])), 8 + 90), n)) for n in (1, 2, 3)] == [5, 10, 30]


def test_whole_rounds_then_twenty_forty_forty():
    pieces = row(([10, 500], [20, 500], [30, 500]))
    ids = cut("rounds", pieces, 8 + 60 + 100)
    first = [i for i in ids if i >= 0 and i % 10_000 < 1_000]
    assert len(first) == 8 + 60, "the first round and the literals are whole"
    second = [[i for i in field(ids, n) if i % 10_000 >= 1_000] for n in (1, 2, 3)]
    assert [len(turn) for turn in second] == [18, 38, 38], "20, 40 and 40 with the marker of two"
    assert ids.count(-1) == 3 and len(ids) == 168


def test_an_overflowing_round_is_dropped_when_little_is_left_but_the_first_never_is():
    pieces = row(([10, 500], [20, 500], [30, 500]))
    assert len(cut("rounds", pieces, 8 + 60 + 79)) == 8 + 60
    assert len(cut("rounds", pieces, 8 + 60 + 80)) == 8 + 60 + 80
    assert len(cut("rounds", row(([500], [500], [500])), 8 + 30)) == 38


def test_short_turns_of_the_overflowing_round_lend_their_room():
    ids = cut("rounds", row(([4], [500], [20])), 8 + 104)
    assert [len([i for i in field(ids, n) if i >= 0]) for n in (1, 2, 3)] == [4, 78, 20] and len(ids) == 112


@given(st.lists(st.tuples(*[st.integers(1, 60)] * 3), min_size=1, max_size=5), st.integers(1, 600))
def test_rounds_are_kept_whole_from_the_first(turns, budget):
    pieces = by_round(turns)
    ids = cut("rounds", pieces, budget)
    room, kept = budget, 0
    for sizes in turns:
        if sum(sizes) + 6 > room:
            break
        room, kept = room - sum(sizes) - 6, kept + 1
    start = [i for piece in pieces if piece.round < kept for i in piece.ids.tolist()]
    assert ids[: len(start)] == start
    rest = {i % 10_000 // 1_000 for i in ids[len(start) :] if i >= 10_000}
    assert rest <= {kept}, "nothing after the round that overflows"


def test_a_long_row_is_cut_without_popping_tokens():
    pieces = row(([900], [900], [900]))
    pieces[1] = Piece(np.zeros(5_000_000, dtype=np.int32), "prompt", 0)
    for name in TRUNCATION:
        assert len(cut(name, pieces, 2048)) <= 2048


@given(st.lists(st.integers(0, 1000), max_size=6), st.integers(0, 4000), st.data())
def test_shares_spend_the_budget_and_are_fair(sizes, budget, data):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(sizes), max_size=len(sizes)))
    shares = allocate_budget(sizes, budget, weights=weights)
    assert sum(shares) == min(budget, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    cut_ones = [(share, weight) for share, size, weight in zip(shares, sizes, weights, strict=True) if share < size]
    for share, weight in cut_ones:  # nobody got more than a token per weight above one who was cut
        assert all(other <= (share + 1) * its / weight + 1 for other, its in zip(shares, weights, strict=True))


@given(st.lists(st.integers(0, 1000), max_size=6), st.integers(0, 4000))
def test_shares_by_length_spend_the_budget_and_follow_the_lengths(sizes, budget):
    shares = allocate_by_length(sizes, budget)
    assert sum(shares) == min(budget, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    cut_ones = [(share, size) for share, size in zip(shares, sizes, strict=True) if share < size]
    assert all(size * len(sizes) > budget for _, size in cut_ones), "an item within an equal share was cut"
    for share, size in cut_ones:  # each within a token of the same part
        assert all(abs(share * other - its * size) <= size + other for its, other in cut_ones)


def test_proportional_cuts_fields_in_proportion_to_their_lengths():
    ids = cut("proportional", row(([10], [500], [900])), 8 + 600)
    assert [len(field(ids, n)) for n in (1, 2, 3)] == [10, 211, 379]
    assert field(ids, 2) == list(range(20_000, 20_211)), "the start of the field"
    assert cut("proportional", row(([10], [10], [900])), 8 + 920) == whole(row(([10], [10], [900])))


def test_wrong_arguments_say_what_is_there():
    assert allocate_budget([], 5) == [] and allocate_budget([10, 500, 900], 600) == [10, 295, 295]
    with pytest.raises(ValueError, match="budget -1"):
        allocate_budget([1], -1)
    with pytest.raises(ValueError, match=r"lengths \[-1\], budget 3"):
        allocate_by_length([-1], 3)
    with pytest.raises(ValueError, match="there are right, left, middle, thirds, proportional, rounds"):
        truncation_policy("head")
    assert truncation_policy(TRUNCATION["left"]) is TRUNCATION["left"]

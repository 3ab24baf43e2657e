"""Profiles and units: a wrong limit lets an archive through that Kaggle refuses."""

import pytest

from submission_builder.packing.units import format_size, parse_size
from submission_builder.profiles import PROFILES, Profile, custom_profile, get_profile


def test_limits_are_those_of_the_competitions():
    assert get_profile("llm-20-questions").max_archive_bytes == 20_000_000_000
    assert get_profile("llm-20-questions-upload").max_archive_bytes == 100_000_000_000
    assert get_profile("simulation-small").max_archive_bytes == parse_size("197.7MiB")
    assert all(name == profile.name for name, profile in PROFILES.items())


def test_unknown_profile_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'llm-20' is unknown; there are llm-20-questions, .*--limit"):
        get_profile("llm-20")


def test_own_profile_passes_through():
    mine = custom_profile(5, max_unpacked_bytes=7)
    assert get_profile(mine) is mine


def test_impossible_limits_are_refused_together():
    with pytest.raises(ValueError, match=r"archive limit is 0.*unpacked limit is -1"):
        Profile("x", 0, -1, "")


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "0", "1e9", "5 G B", "9" * 400, "٣GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("size", [1, 999, 1000, 9_994, 9_996, 99_949, 99_951, 999_499, 999_501, 10**13, 10**15])
def test_sizes_read_back_within_rounding(size):
    text = format_size(size)
    assert abs(parse_size(text) - size) <= 0.006 * size
    assert len(text.split()[0]) <= 4 or size >= 10**15

"""Settings that cannot filter are refused, all problems at once."""

from __future__ import annotations

import pytest

from kaggle_utils.data.filtering import FilterSettings


def test_all_problems_at_once():
    with pytest.raises(ValueError) as error:
        FilterSettings(
            min_language_share=2, encoding="cp-none", blocklist=("",), min_characters=-1, near_duplicates=0.1
        )
    for name in ("min_language_share", "encoding", "blocklist", "min_characters", "near_duplicates"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_characters": 9, "max_characters": 3}, "below min_characters"),
        ({"rare_counts": (9, 19)}, "rise"),
        ({"blocklist": ("三菱",), "replacements": {"松下": "三菱電機"}}, "replacement"),
        ({"near_duplicates": 0.8}, "near_duplicates"),
        ({"blocklist": "松下"}, "blocklist"),
        ({"rare_counts": (0,)}, "rare_counts"),
        ({"max_repeated_share": True}, "max_repeated_share"),
    ],
)
def test_contradictions(values, words):
    with pytest.raises(ValueError, match=words):
        FilterSettings(**values)


def test_survives_json():
    import json

    settings = FilterSettings(blocklist=["x", "y"], replacements={"a": "b"}, language=None)
    assert FilterSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings

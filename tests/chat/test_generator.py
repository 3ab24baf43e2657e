import pytest

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator


def test_all_bad_settings_are_reported_at_once():
    with pytest.raises(ValueError) as raised:
        GenerationSettings(
            max_new_tokens=0,
            temperature=-1,
            top_p=0,
            repetition_penalty=float("nan"),
            stop_strings="\n",
            time_limit=0,
            seed=-1,
        )
    for name in ("max_new_tokens", "temperature", "top_p", "repetition_penalty", "stop_strings", "time_limit", "seed"):
        assert name in str(raised.value)


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"temperature": 0.7, "top_p": 0.9, "seed": 0},
        {"time_limit": 1e-3},
        {"stop_strings": ["\n"]},
        {"repetition_penalty": 1.1},
    ],
)
def test_good_settings(good):
    assert hash(GenerationSettings(**good)) == hash(GenerationSettings(**good))


def test_true_is_no_number_of_tokens():
    with pytest.raises(ValueError, match="max_new_tokens is True"):
        GenerationSettings(max_new_tokens=True)


def test_protocol_is_checkable_at_run_time():
    class Fake:
        def generate(self, conversations, settings=None):
            return ["" for _ in conversations]

        def yes_no(self, conversations):
            return [0.5 for _ in conversations]

    assert isinstance(Fake(), TextGenerator)
    assert not isinstance(object(), TextGenerator)

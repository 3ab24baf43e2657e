import pytest

from kaggle_utils.chat.messages import Message, as_conversation, assistant, fold_system, system, user


def test_conversation_from_every_shape():
    expected = (system("s"), user("u"), assistant("a"))
    assert as_conversation(list(expected)) == expected
    assert as_conversation([{"role": m.role, "content": m.content} for m in expected]) == expected
    assert as_conversation("u") == (user("u"),)
    assert as_conversation(user("u")) == (user("u"),)


def test_every_malformed_turn_is_named():
    turns = [
        {"role": "model", "content": "x"},
        {"content": "x"},
        user("fine"),
        {"role": "user", "content": None},
        "text",
    ]
    with pytest.raises(ValueError) as raised:
        as_conversation(turns)
    message = str(raised.value)
    assert [f"turn {n}" in message for n in range(5)] == [True, True, False, True, True]
    assert "'model'" in message and "no role" in message and "NoneType" in message


@pytest.mark.parametrize("value", [[], None, 3, {"role": "user", "content": "one mapping, not a list"}])
def test_what_is_no_conversation(value):
    with pytest.raises(ValueError, match="conversation"):
        as_conversation(value)


def test_lone_surrogates_cannot_reach_a_tokenizer():
    text = user("a\ud800b \ud83d\ude00").content
    assert text == "a\ufffdb \U0001f600"
    text.encode("utf-8")


def test_roles_are_checked():
    with pytest.raises(ValueError, match="system, user, assistant"):
        Message("model", "x")


def test_fold_system_keeps_order_and_other_turns():
    turns = [system("A"), user("q1"), system("B"), assistant("r"), user("q2")]
    assert fold_system(turns) == (user("A\n\nB\n\nq1"), assistant("r"), user("q2"))
    assert fold_system([system("A")]) == (user("A"),)
    assert fold_system([system("  "), user("q")]) == (user("q"),)
    assert fold_system([user("q")]) == (user("q"),)
    assert fold_system([system("A"), assistant("r")]) == (user("A"), assistant("r"))

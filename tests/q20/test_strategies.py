"""What each strategy says, and when it stands aside for the next."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fakes import FakeGenerator
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.q20.protocol import ROUNDS, Observation, is_valid_reply, keywords_match
from kaggle_utils.q20.questions import HANDSHAKE, alphabetical_question, parse_question
from kaggle_utils.q20.strategies.bisection import AskBisection, GuessBisection
from kaggle_utils.q20.strategies.fallback import COMMON_WORDS, AnswerNo, last_resort
from kaggle_utils.q20.strategies.handshake import AskHandshake, ConfirmHandshake
from kaggle_utils.q20.strategies.lexical import AnswerLexical
from kaggle_utils.q20.strategies.llm import AnswerLLM, AskLLM, GuessLLM
from kaggle_utils.q20.strategies.prompts import about_keyword, answer_prompt, guess_prompt, question_prompt
from kaggle_utils.q20.strategies.question_cleaning import clean_question, is_repeat
from kaggle_utils.q20.strategies.scripted import LETTER_QUESTIONS, SCRIPT, AskScripted, GuessScripted
from kaggle_utils.q20.transcript import Beliefs, answered, handshake_confirmed, is_lexical
from kaggle_utils.q20.vocabulary import Vocabulary

FRUITS = Vocabulary.from_weights({"apple": 5, "banana": 4, "cherry": 3, "grape": 2, "lemon": 1, "pear": 1, "plum": 1})


def asking(*pairs, guesses=()):
    return Observation("ask", questions=tuple(q for q, _ in pairs), answers=tuple(a for _, a in pairs), guesses=guesses)


def guessing(*pairs, guesses=()):
    questions, answers = tuple(q for q, _ in pairs), tuple(a for _, a in pairs)
    return Observation("guess", questions=questions, answers=answers, guesses=guesses)


def answering(question, keyword="cat", category="things"):
    return Observation("answer", questions=(question,), keyword=keyword, category=category)


# --- the handshake


def test_handshake_is_read_from_the_recorded_answer_wherever_it_stands():
    assert handshake_confirmed(asking(("Is it alive?", "no"), (HANDSHAKE, "yes")))
    assert not handshake_confirmed(asking((HANDSHAKE, "no"), ("Is it alive?", "yes")))
    assert not handshake_confirmed(Observation("ask", questions=(HANDSHAKE,)))


def test_handshake_is_asked_once_and_confirmed_only_when_it_is_the_newest_question():
    assert AskHandshake().reply(asking((HANDSHAKE, "no"))) is None
    assert ConfirmHandshake().reply(answering("is it agent alpha")) == "yes"
    later = Observation("answer", questions=(HANDSHAKE, "Is it alive?"), answers=("yes",), keyword="cat")
    assert ConfirmHandshake().reply(later) is None
    assert ConfirmHandshake().reply(Observation("answer")) is None


def test_handshake_is_no_fact_about_the_keyword():
    assert answered(asking((HANDSHAKE, "yes"), ("Is it red?", "no"), ("Is it old?", ""))) == [("Is it red?", "no")]
    assert Beliefs(FRUITS).of(asking((HANDSHAKE, "yes"))).count == len(FRUITS)


# --- bisection


def test_bisection_needs_the_handshake_unless_it_insists():
    refused = asking((HANDSHAKE, "no"))
    assert AskBisection(Beliefs(FRUITS)).reply(refused) is None
    assert parse_question(AskBisection(Beliefs(FRUITS), insist=True).reply(refused)).family == "order"


def test_bisection_finds_every_word_within_the_rounds_it_promises():
    beliefs = Beliefs(FRUITS)
    for word in FRUITS.words:
        pairs, guesses = [(HANDSHAKE, "yes")], ()
        for _ in range(4):  # seven words
            guess = GuessBisection(beliefs).reply(guessing(*pairs, guesses=guesses))
            if guess == word:
                break
            guesses += (guess,)
            question = AskBisection(beliefs).reply(asking(*pairs, guesses=guesses))
            pairs.append((question, "yes" if parse_question(question).holds(word) else "no"))
        assert guess == word


def test_bisection_stands_aside_when_the_partner_contradicts_itself():
    pairs = ((HANDSHAKE, "yes"), (alphabetical_question("cherry"), "yes"), (alphabetical_question("banana"), "no"),
             (alphabetical_question("apple"), "yes"))  # fmt: skip
    beliefs = Beliefs(FRUITS)
    assert AskBisection(beliefs).reply(asking(*pairs)) is None
    assert GuessBisection(beliefs).reply(guessing(*pairs)) is None


def test_bisection_does_not_repeat_itself_when_all_words_are_used_up():
    one = Vocabulary.from_weights({"apple": 1})
    assert AskBisection(Beliefs(one)).reply(asking((HANDSHAKE, "yes"))) is None
    guessed = asking((HANDSHAKE, "yes"), guesses=("apple",))
    assert AskBisection(Beliefs(one)).reply(guessed) is None
    assert GuessBisection(Beliefs(one)).reply(guessed) is None


def test_guessing_by_spelling_needs_answers_about_spelling():
    assert is_lexical(guessing((HANDSHAKE, "yes"), ("Is it alive?", "no")))
    assert not is_lexical(guessing((HANDSHAKE, "no")))
    assert not is_lexical(guessing(("Is it alive?", "no"), ("Is it big?", "no"), (alphabetical_question("m"), "no")))
    assert GuessBisection(Beliefs(FRUITS)).reply(guessing(("Is it alive?", "no"))) is None


def test_beliefs_are_the_same_whether_remembered_or_not():
    obs = asking((HANDSHAKE, "yes"), (alphabetical_question("cherry"), "yes"), guesses=("apple",))
    shared = Beliefs(FRUITS)
    assert shared.known(obs) is None
    shared.of(asking())
    assert shared.of(obs).top(9) == Beliefs(FRUITS).of(obs).top(9) == [("banana", 1.0)]
    assert shared.known(obs) is shared.of(obs)


# --- the script


@pytest.mark.parametrize("answer", ["yes", "no", "alternating"])
def test_script_asks_twenty_different_sensible_questions(answer):
    obs, asked = asking(), []
    for number in range(ROUNDS):
        question = AskScripted().reply(obs)
        assert is_valid_reply("ask", question)
        assert question.endswith("?")
        asked.append(question)
        said = answer if answer != "alternating" else ("yes", "no")[number % 2]
        obs = asking(*zip(obs.questions, obs.answers, strict=True), (question, said))
    assert len(set(asked)) == ROUNDS


def test_script_follows_the_answers():
    place = asking((SCRIPT[0].text, "no"), (SCRIPT[1].text, "yes"))
    assert AskScripted().reply(place) == "Is it a city?"
    animal = asking((SCRIPT[0].text, "yes"), ("Is it an animal?", "yes"))
    assert AskScripted().reply(animal) == "Is it a mammal?"


def test_script_has_no_near_repeats_and_its_needs_are_earlier_questions():
    keys = []
    for position, item in enumerate(SCRIPT):
        assert not is_repeat(item.text, [other.text for other in SCRIPT[:position]]), item.text
        assert set(item.needs) <= set(keys), item.text
        assert clean_question(item.text) == item.text
        keys.append(item.key)
    assert len(set(keys)) == len(keys)


def test_letter_questions_are_understood_by_our_own_answerer():
    for text in LETTER_QUESTIONS:
        assert AnswerLexical().reply(answering(text, keyword=f"{text[-3]}ebra")) == "yes", text
        assert AnswerLexical().reply(answering(text, keyword="1st")) == "no", text


def test_semantic_script_questions_are_left_to_the_model():
    for item in SCRIPT:
        assert AnswerLexical().reply(answering(item.text, keyword="cat")) is None, item.text


def test_scripted_guesses_use_what_is_known_and_go_on_after_contradictions():
    beliefs = Beliefs(FRUITS)
    starts_with_b = ('Does the keyword start with the letter "b"?', "yes")
    assert GuessScripted(beliefs).reply(guessing(starts_with_b)) == "banana"
    contradiction = (starts_with_b, ('Does the keyword start with the letter "c"?', "yes"))
    guesses = ()
    for _ in FRUITS.words:
        guess = GuessScripted(beliefs).reply(guessing(*contradiction, guesses=guesses))
        assert guess in FRUITS.words
        assert guess not in guesses
        guesses += (guess,)
    assert GuessScripted(beliefs).reply(guessing(guesses=guesses)) is None


# --- answers


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ('Does the keyword (in lowercase) precede "dog" in alphabetical order?', "yes"),
        ('Does the keyword (in lowercase) precede "car" in alphabetical order?', "no"),
        ("Is it alive?", None),
        ("", None),
    ],
)
def test_lexical_answers(question, expected):
    assert AnswerLexical().reply(answering(question)) == expected


def test_answers_need_a_keyword_and_a_question():
    model = FakeGenerator(p_yes=1.0)
    for obs in (answering("Is it alive?", keyword=""), Observation("answer", keyword="cat"), answering("  ")):
        assert AnswerLexical().reply(obs) is None
        assert AnswerLLM(model).reply(obs) is None
    assert model.conversations == []
    assert AnswerNo().reply(Observation("answer")) == "no"


@pytest.mark.parametrize(("p_yes", "reply"), [(0.49, "no"), (0.5, "yes"), (1.0, "yes"), (0.0, "no"), (math.nan, None)])
def test_model_answers_by_probability(p_yes, reply):
    assert AnswerLLM(FakeGenerator(p_yes=p_yes)).reply(answering("Is it alive?")) == reply


def test_threshold_moves_the_answer_and_must_be_a_probability():
    assert AnswerLLM(FakeGenerator(p_yes=0.6), threshold=0.7).reply(answering("Is it alive?")) == "no"
    with pytest.raises(ValueError, match=r"1\.5"):
        AnswerLLM(FakeGenerator(), threshold=1.5)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is it alive?", "Is Cat alive?"),
        ("Is the keyword a mammal?", "Is Cat a mammal?"),
        ("Would you say that the secret thing's colour is grey?", "Would you say that Cat's colour is grey?"),
        ("Is it common to find it in a house?", "Is it common to find Cat in a house?"),
        ("Does its name matter?", "Does Cat's name matter?"),
        ("Do people eat grass?", "Do people eat grass?"),
        ("Is IT big, and is it old?", "Is Cat big, and is it old?"),
    ],
)
def test_the_keyword_goes_into_the_question(question, expected):
    assert about_keyword(question, "Cat") == expected


def test_a_keyword_of_regex_signs_is_only_text():
    assert about_keyword("Is it big?", r"C:\1\g<0>") == r"Is C:\1\g<0> big?"


def test_answer_prompt_is_short_whatever_the_opponent_writes():
    obs = answering("Is it alive? " + "x" * 5000, keyword="k" * 5000, category="c" * 5000)
    assert sum(len(message.content) for message in answer_prompt(obs)) < 1600
    assert answer_prompt(obs)[0].role == "system"
    assert "x" not in answer_prompt(obs)[0].content.replace("exact", "")


def test_guesser_prompts_show_the_transcript_and_never_a_keyword():
    obs = guessing((HANDSHAKE, "no"), ("Is it red?", "yes"), guesses=("cherry",))
    obs = replace(obs, keyword="apple")  # the environment fills it in for guessers once the game is over
    for prompt in (question_prompt(obs), guess_prompt(obs)):
        text = "\n".join(message.content for message in prompt)
        assert "1. Is it red? yes" in text
        assert "cherry" in text
        assert "Agent Alpha" not in text
        assert "apple" not in text


# --- questions and guesses of a model


def test_model_questions_are_cleaned():
    model = FakeGenerator("**Question 2:** is it larger than a car? Let me know!")
    assert AskLLM(model).reply(asking(("Is it alive?", "no"))) == "Is it larger than a car?"


def test_a_repeated_question_is_tried_once_more_with_temperature():
    model = FakeGenerator("Is it alive?", "Is it used outdoors?")
    assert AskLLM(model, seed=5).reply(asking(("Is the thing alive?", "no"))) == "Is it used outdoors?"
    assert [settings.temperature for settings in model.settings] == [0.0, 0.8]
    assert AskLLM(FakeGenerator("Is it alive?")).reply(asking(("Is it alive?", "no"))) is None


NO_QUESTIONS = ["", "Banana?", "cat", "Can opener?", "I will not play.", "?", "Yes", "\x00", "Is?", "ok " * 999]
NO_GUESSES = ["", "?!", "yes", "cat", "the cats\nCAT", "I really would not know what to say about this at all"]


@pytest.mark.parametrize("text", NO_QUESTIONS)
def test_a_text_without_a_question_is_left_to_the_script(text):
    assert clean_question(text) == ""
    assert AskLLM(FakeGenerator(text)).reply(asking()) is None


@given(st.text(max_size=300))
def test_a_cleaned_question_is_always_fit_to_be_asked(text):
    question = clean_question(text)
    if question:
        assert is_valid_reply("ask", question)
        assert question.endswith("?")
        assert len(question.split()) >= 3
        assert "\n" not in question


def test_model_guesses_become_a_bare_new_word():
    model = FakeGenerator("1. **Cat**\n2. I think it is a Dog.\n3. cow")
    assert GuessLLM(model).reply(guessing(("Is it alive?", "yes"), guesses=("cats",))) == "dog"


def test_model_guesses_respect_what_is_known_about_spelling():
    model = FakeGenerator("table, chair, lamp")
    pairs = (("Is it furniture?", "yes"), (alphabetical_question("d"), "yes"))
    assert GuessLLM(model).reply(guessing(*pairs)) == "chair"


@pytest.mark.parametrize("text", NO_GUESSES)
def test_a_text_without_a_new_word_is_left_to_the_next_strategy(text):
    assert GuessLLM(FakeGenerator(text)).reply(guessing(guesses=("cat",))) is None


# --- the last resort


@pytest.mark.parametrize("turn", ["ask", "guess", "answer", "", "dance"])
def test_last_resort_is_valid_and_does_not_repeat_itself(turn):
    said: list[str] = []
    for _ in range(ROUNDS):
        reply = last_resort(turn, guesses=said, questions=said)
        assert is_valid_reply(turn, reply)
        said.append(reply)
    if turn in ("ask", "guess"):
        assert len(set(said)) == ROUNDS


def test_common_words_are_different_words():
    for position, word in enumerate(COMMON_WORDS):
        assert not keywords_match(word, "", COMMON_WORDS[:position]), word


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ("Based on the answers, I think it is a **Cat**.", "cat"),
        ("Sure, here are five keywords:\ncat\ndog", "cat"),
        ("Answer:\ncat", "cat"),
        ("Keywords: cat, dog", "cat"),
        ("1. bread knife\n2. dog", "bread knife"),
        ("I'm not sure, but maybe a cat", None),  # a sentence that begins like none of ours is no guess
        ("Oh, I know!", None),
        ("is it", None),
    ],
)
def test_a_preamble_is_no_guess(written, guess):
    model = FakeGenerator(written, written)
    obs = Observation("guess", questions=("Is it alive?",), answers=("yes",))
    assert GuessLLM(model).reply(obs) == guess


def test_a_shipped_keyword_is_no_question_whatever_the_vocabulary():
    from kaggle_utils.q20.agent import make_agent
    from kaggle_utils.q20.robot import Robot
    from kaggle_utils.q20.transcript import Beliefs
    from kaggle_utils.q20.vocabulary import Vocabulary

    class AsksTurkey:
        def reply(self, obs):
            return "turkey"

    beliefs = Beliefs(Vocabulary.from_weights({"apple": 1, "pear": 1}))
    agent = make_agent(Robot(asking=[AsksTurkey()], beliefs=beliefs), log=False)
    assert agent({"turnType": "ask"}, None) != "turkey"

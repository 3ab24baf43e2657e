"""One game: the questioner finds keywords, words outside the table, and what its answerer is like."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.protocol import ROUNDS, keywords_match
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.questions import HANDSHAKE, alphabetical_question, is_handshake, parse_question
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

TABLE = synthetic_table(objects=200, questions=150)
PREPARED = PreparedTable(TABLE)
SPELLED = PreparedTable(TABLE, load_vocabulary())


def play(prepared, word, *, confirms=True, spells=True, flip=0.0, seed=0, **options):
    """Round in which ``word`` was guessed (0: never), and the questioner."""
    table, chance = prepared.table, random.Random(seed)
    questioner, index = Questioner(prepared, **options), table.objects.index_of(word)
    for number in range(1, ROUNDS + 1):
        question = questioner.ask()
        text = questioner.question_text(question)
        rule = parse_question(text)
        if is_handshake(text):
            answer = confirms
        elif rule is not None:
            answer = rule.holds(word) if spells else chance.random() < 0.4
        else:
            p = table.columns([question])[index, 0] if index is not None else 0.4
            answer = bool(chance.random() < p) ^ (chance.random() < flip)
        questioner.hear(answer)
        if keywords_match(questioner.guess_text(questioner.guess()), word):
            return number, questioner
    return 0, questioner


def test_keywords_are_found_by_meaning():
    found = [play(PREPARED, word, flip=0.05, seed=seed)[0] for seed, word in enumerate(TABLE.objects.words[:20])]
    assert sum(number > 0 for number in found) >= 17, found


def test_words_far_outside_the_table_are_found_by_a_partner_who_spells():
    words = random.Random(8).sample(SPELLED.vocabulary.words, 4)
    found = [play(SPELLED, word)[0] for word in words]
    assert all(found), dict(zip(words, found, strict=True))


def test_the_handshake_is_asked_first_where_it_decides_the_game_and_not_where_it_does_not():
    questioner = Questioner(SPELLED)
    assert questioner.question_text(questioner.ask()) == HANDSHAKE
    assert questioner.handshake_worth > 0
    few = Questioner(PreparedTable(TABLE.subset(range(30))))
    assert few.question_text(few.ask()) != HANDSHAKE
    assert not is_handshake((q := Questioner(SPELLED, handshake=False)).question_text(q.ask()))


def test_after_the_handshake_the_engine_decides_whether_to_bisect():
    for answer in (True, False):
        questioner = Questioner.from_transcript(SPELLED, [HANDSHAKE], ["yes" if answer else "no"], ["nothing"])
        rule = parse_question(questioner.question_text(questioner.ask()))
        assert (rule is not None and rule.family == "order") or not answer
        assert questioner.spells_exactly == answer


def test_one_wrong_answer_ends_the_trust_in_spelling():
    words = SPELLED.lexicon.words
    questions = [HANDSHAKE, alphabetical_question("m"), alphabetical_question("c"), alphabetical_question("x")]
    questioner = Questioner.from_transcript(SPELLED, questions, ["yes", "yes", "no", "no"], [])
    assert words[0] < "m"
    assert not questioner.spells_exactly


def test_a_partner_who_cannot_spell_is_found_out():
    questions = [text for text, lexical in zip(TABLE.bank.texts, TABLE.bank.lexical, strict=True) if lexical][:12]
    truth = [parse_question(text).holds(TABLE.objects.words[5]) for text in questions]
    spells, blind = (
        Questioner.from_transcript(
            PREPARED, questions, ["yes" if t ^ (wrong and i % 2) else "no" for i, t in enumerate(truth)], []
        )
        for wrong in (False, True)
    )
    good, bad = (float(q.posterior.view(lexical=True).slope) for q in (spells, blind))
    assert bad < 0.5 < good


def test_a_game_can_be_taken_over_at_any_turn():
    _, questioner = play(SPELLED, TABLE.objects.words[3], confirms=False)
    asked, answers = questioner.asked, ["no", *("yes" if heard.answer else "no" for heard in questioner.heard)]
    for cut in (1, 4):
        first, second = (Questioner.from_transcript(SPELLED, asked[:cut], answers[:cut], ["table"]) for _ in range(2))
        assert first.question_text(first.ask()) == second.question_text(second.ask())
        assert first.best_guess() == second.best_guess()
        assert first.posterior.weights == pytest.approx(second.posterior.weights)


def test_order_of_guesses_and_answers_makes_no_difference():
    question = alphabetical_question("m")
    one, two = Questioner(SPELLED), Questioner(SPELLED)
    for step in (lambda q: q.observe(question, True), lambda q: q.rule_out("aardvark")):
        step(one)
    for step in (lambda q: q.rule_out("aardvark"), lambda q: q.observe(question, True)):
        step(two)
    assert one.posterior.weights == pytest.approx(two.posterior.weights, rel=1e-6)


def test_questions_and_guesses_never_come_twice_whatever_is_answered():
    for answer in (True, False, None):
        questioner, texts, guesses = Questioner(SPELLED), [], []
        for _ in range(ROUNDS):
            texts.append(questioner.question_text(questioner.ask()))
            questioner.hear(answer)
            guesses.append(questioner.guess_text(questioner.guess()))
        assert len(set(texts)) == len(set(guesses)) == ROUNDS


def test_near_duplicates_and_opposites_count_as_asked():
    random_codes = np.random.default_rng(0).integers(0, 256, size=(40, 25), dtype=np.uint8)
    codes = np.concatenate([random_codes, random_codes[:, :1], 255 - random_codes[:, 1:2]], axis=1)
    bank = QuestionBank([BankQuestion(f"Is it number {i}?", "x") for i in range(codes.shape[1])])
    table = KnowledgeTable(Objects([Thing(f"thing {i}x") for i in range(40)]), bank, codes)
    prepared = PreparedTable(table)
    assert prepared.twins(0).tolist() == [25]
    assert prepared.twins(26).tolist() == [1]
    questioner = Questioner(prepared, handshake=False)
    questioner.observe("Is it number 0?", True)
    asked = []
    with pytest.raises(LookupError, match="27 questions"):
        for _ in range(30):
            asked.append(questioner.ask())
            questioner.hear(None)
    assert 25 not in asked
    assert len({1, 26} & set(asked)) == 1


def test_a_bare_keyword_is_never_asked():
    bank = QuestionBank(
        [BankQuestion("Turkeys?", "x"), BankQuestion("zebra fish", "x"), BankQuestion("Is it big?", "x")]
    )
    things = Objects([Thing("zebra fish"), Thing("plum")])
    prepared = PreparedTable(KnowledgeTable(things, bank, encode(np.full((2, 3), 0.5))))
    assert prepared.askable.tolist() == [False, False, True]


def test_unknown_questions_tell_nothing_and_break_nothing():
    questioner = Questioner(PREPARED)
    before = questioner.posterior.weights.copy()
    for text in ("What do you think?", "", "x" * 3000, "Is it \ud800?"):
        questioner.observe(text, True)
    assert questioner.posterior.weights == pytest.approx(before)
    questioner.rule_out("no such thing")
    assert questioner.posterior.weights == pytest.approx(before)


def test_entropy_falls_and_top_lists_objects():
    questioner = Questioner(PREPARED)
    start = questioner.entropy_bits
    word = TABLE.objects.words[9]
    number, questioner = play(PREPARED, word)
    assert questioner.entropy_bits < start
    assert number > 0
    assert len(questioner.top(3)) == 3
    assert questioner.gains


def test_hear_without_a_question_says_so():
    with pytest.raises(ValueError, match="ask"):
        Questioner(PREPARED).hear(True)


def test_large_tables_are_sampled_and_the_question_is_nearly_the_best():
    random_table = np.random.default_rng(2).integers(0, 256, size=(5000, 1500), dtype=np.uint8)
    bank = QuestionBank([BankQuestion(f"Is it number {i}?", "x") for i in range(1500)])
    table = KnowledgeTable(Objects([Thing(f"thing {i}x") for i in range(5000)]), bank, random_table)
    prepared = PreparedTable(table)
    questioner = Questioner(prepared, handshake=False, variety=0.0, flip=0.05)
    questioner.ask()
    started = time.perf_counter()
    chosen = questioner.ask()
    assert time.perf_counter() - started < 2
    from kaggle_utils.q20.questioner.gain import information_gain

    gains = information_gain(table.objects.prior, table.theta, base=0.05, slope=0.9)
    assert gains[chosen] > gains.max() - 0.01


def test_vocabulary_of_two_words_is_no_trouble():
    words = Vocabulary.from_weights({"apple": 3, "pear": 1})
    prepared = PreparedTable(synthetic_table(objects=2, questions=5, lexical=False), words)
    assert play(prepared, "pear", handshake=False)[0] > 0

"""Whole games: self-play wins, and no partner, however bad, makes us lose by an error."""

from __future__ import annotations

import functools
import random

import pytest
from fakes import FakeGenerator

from kaggle_utils.q20.agent import make_agent
from kaggle_utils.q20.arena import play_game
from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.questions import is_handshake, parse_question

EVERY = load_keywords()
KEYWORDS = random.Random(20).sample(EVERY, 16)


def play(guesser, answerer, keyword, alts=()):
    return play_game((guesser, answerer), keyword=keyword, alts=alts)


def assert_clean(record):
    for team in record.teams:
        assert team.reward is not None, f"{record.keyword}: {team.statuses}"
        assert set(team.statuses) == {"DONE"}


@functools.cache
def self_play(keyword):
    return play_game(make_agent(log=False), keyword=keyword.word, category=keyword.category, alts=keyword.alts)


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.word)
def test_self_play_without_a_model_wins(keyword):
    record = self_play(keyword)
    assert_clean(record)
    assert record.teams[0].reward > 0, record.keyword
    questions = [row.question for row in record.teams[0].rounds]
    assert len(questions) == len(set(questions))


def test_self_play_wins_in_about_as_many_rounds_as_bisection_needs():
    rounds = [len(self_play(keyword).teams[0].rounds) for keyword in KEYWORDS[-12:]]
    assert sum(rounds) / len(rounds) < 15, rounds


def test_a_model_does_not_get_in_the_way_of_a_partner_who_spells():
    model = FakeGenerator("Is it used in a kitchen?", "dog", p_yes=0.5)
    record = play_game(make_agent(model, log=False), keyword="Sieve")
    assert_clean(record)
    assert record.teams[0].reward > 0
    assert not model.conversations


def refusing(seed):
    """Denies the handshake and answers honestly what can be worked out from the spelling, else at random."""
    chance, honest = random.Random(seed), make_agent(log=False)

    def answer(obs, cfg):
        question = obs.questions[-1]
        if is_handshake(question):
            return "no"
        return honest(obs, cfg) if parse_question(question) else chance.choice(["yes", "no"])

    return answer


def lying(seed):
    chance = random.Random(seed)
    return lambda obs, cfg: "yes" if is_handshake(obs.questions[-1]) else chance.choice(["yes", "no"])


@pytest.mark.parametrize("model", [None, FakeGenerator("dog", p_yes=0.5)], ids=["rules", "model"])
def test_a_partner_who_refuses_the_handshake_is_found_out_to_spell_all_the_same(model):
    agent, rewards = make_agent(model, log=False), []
    for keyword in KEYWORDS[2:4]:
        record = play(agent, refusing(1), keyword.word, keyword.alts)
        assert_clean(record)
        rewards.append(record.teams[0].reward)
        questions = [row.question for row in record.teams[0].rounds]
        assert len(set(questions)) == len(questions)
        assert sum(map(is_handshake, questions)) <= 1
    assert max(rewards) > 0, rewards  # what is answered by chance misleads at times


@pytest.mark.parametrize("model", [None, FakeGenerator("Is it used in a kitchen?", "dog")], ids=["rules", "model"])
@pytest.mark.parametrize("partner", ["liar 1", "liar 2", "always no", "always yes", "shouts"])
def test_a_bad_partner_costs_the_game_but_never_an_error(partner, model):
    kind, _, seed = partner.partition(" ")
    answerer = {"liar": lying(seed), "always": lambda obs, cfg: seed, "shouts": lambda obs, cfg: "NO!!!"}[kind]
    record = play(make_agent(model, log=False), answerer, "Sieve")
    assert_clean(record)
    rows = record.teams[0].rounds
    assert len({row.question for row in rows}) == len(rows)
    assert len({row.guess for row in rows}) == len(rows)


@pytest.mark.parametrize("question", ["Is it Sieve?", "is it a sieve", "?" * 800, "<eos>", 'Is it "sieve"?'])
def test_a_bad_guesser_gets_valid_answers(question):
    record = play(lambda obs, cfg: question if obs.turnType == "ask" else "banana", make_agent(log=False), "Sieve")
    assert_clean(record)
    assert len(record.teams[0].rounds) == 20


def test_two_against_two_with_one_clear_winner():
    good = make_agent(log=False)
    record = play_game((good, good), (good, lying(4)), keyword="Sieve", names=("honest", "betrayed"))
    assert_clean(record)
    assert record.winner == 0
    assert record.teams[0].reward > record.teams[1].reward == 0


def test_one_agent_may_play_all_four_seats():
    agent = make_agent(log=False)
    record = play_game((agent, agent), (agent, agent), keyword="Sieve")
    assert_clean(record)
    assert record.teams[0].reward == record.teams[1].reward > 0

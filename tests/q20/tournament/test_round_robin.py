"""The round robin: fair draws, rules as everywhere, reproducible, batched, and strangers that are what they claim."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tqdm
from fakes import FakeGenerator
from tables import synthetic_table

from kaggle_utils.q20.agent import default_robot, make_agent
from kaggle_utils.q20.arena import play_game
from kaggle_utils.q20.keywords import Keyword
from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.robot import Robot
from kaggle_utils.q20.strategies.llm import AnswerLLM, AskLLM, GuessLLM
from kaggle_utils.q20.tournament.lockstep import LockstepGenerator, run_in_step
from kaggle_utils.q20.tournament.noise import Noise
from kaggle_utils.q20.tournament.notebook_robot import NotebookRobot
from kaggle_utils.q20.tournament.players import AgentPlayer, RobotPlayer, as_agent
from kaggle_utils.q20.tournament.round_robin import Match, Tournament, duels, play_matches, random_matches
from kaggle_utils.q20.tournament.strangers import STRANGERS, TablePlayer, strangers
from kaggle_utils.q20.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def table():
    return synthetic_table(60, 80, seed=1)


@pytest.fixture(scope="module")
def keywords(table):
    return [Keyword(t.word, t.category, t.aliases, ("1.14.15",)) for t in table.objects]


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5, 7])
def test_everybody_plays_equally_often_and_nobody_twice_in_a_game(players, keywords):
    matches = random_matches(players, keywords, games=70, seed=2)
    played = collections.Counter(seat for match in matches for seat in match.seats)
    assert max(played.values()) - min(played[p] for p in range(players)) <= 1
    if players >= 4:
        assert all(len(set(match.seats)) == 4 for match in matches)
        guessed = collections.Counter(match.seats[0] for match in matches)
        assert len(guessed) == players  # and in every seat
    assert matches == random_matches(players, keywords, games=70, seed=2)
    assert matches != random_matches(players, keywords, games=70, seed=3)


def test_strangers_play_and_the_better_ones_stand_above(table, keywords):
    players = strangers(table)
    assert [player.name for player in players] == list(STRANGERS)
    tournament = play_matches(players, random_matches(len(players), keywords, games=150), progress=False)
    assert len(tournament.records) == 150
    for record in tournament.records:
        assert not record.error
        for team in record.teams:
            assert set(team.statuses) == {"DONE"}
            questions = [row.question for row in team.rounds]
            assert len(set(questions)) == len(questions)
            guesses = [row.guess for row in team.rounds if row.guess]
            assert len(set(guesses)) == len(guesses)
    standings = tournament.standings(replicas=20)
    assert standings[0].player in ("perfect", "noisy", "sulky")
    assert {s.player: s.games for s in standings}["perfect"] == 120
    frame = tournament.frame()
    assert len(frame) >= 150


def test_the_same_seed_gives_the_same_games_however_many_are_played_side_by_side(table, keywords):
    matches = random_matches(len(STRANGERS), keywords, games=12, seed=1)

    def play(seed=4, **options):
        return play_matches(strangers(table, seed=seed), matches, progress=False, **options).records

    whole = play()
    assert play() == whole
    assert play(chunk=5) == whole
    assert play(chunk=1) == whole
    assert play(seed=5) != whole
    with pytest.raises(ValueError, match="chunk is 0"):
        play(chunk=0)


def test_chance_is_each_seats_own(table):
    """What a seat is answered does not depend on who else is asked in the same turn."""
    question, seats = table.bank.texts[0], range(1, 41, 4)
    observations = [Observation("answer", questions=(question,), keyword=table.objects.words[3])] * len(seats)

    def player():
        return TablePlayer("noisy", table, noise=Noise(flip=0.4, unsure=0.2, unsure_is_no=True, sulk=0.1), seed=2)

    together, alone = player(), player()
    several = [together.reply("answer", seats, observations) for _ in range(4)]
    one = [[alone.reply("answer", [seat], observations[:1])[0] for seat in seats] for _ in range(4)]
    assert several == one
    assert len({tuple(row) for row in zip(*several, strict=True)}) > 5
    together.begin()  # the seats of new games have new numbers; those of the same begin as they did
    assert together.reply("answer", seats, observations) == several[0]


def test_the_bar_moves_with_every_turn(table, keywords, monkeypatch):
    moves = []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            moves.append(n)
            return super().update(n)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    play_matches([TablePlayer("perfect", table)], duels(keywords[:3], second=(0, 0)), chunk=2)
    assert len(moves) >= 2 * 3 + 1  # both chunks play a round of three turns at least
    assert all(move >= 0 for move in moves[:-1])
    assert sum(moves) == pytest.approx(3)


def test_perfect_partners_win_and_noise_loses(table, keywords):
    perfect, noisy = TablePlayer("perfect", table), strangers(table)[1]
    tournament = play_matches([perfect, noisy], duels(keywords[:30]), progress=False)
    wins, losses, ties = tournament.win_share(0)
    assert wins + losses + ties == 30
    assert wins > 3 * losses
    alone = play_matches([perfect], [Match(k, (0, 0, 0, 0)) for k in keywords[:10]], progress=False)
    assert all(record.winner == "both" for record in alone.records)
    assert alone.win_share(0) == (0, 0, 20)  # the same round on both sides is a tie


def test_records_survive_the_disk(table, keywords, tmp_path):
    tournament = play_matches(strangers(table), random_matches(5, keywords, games=5), progress=False)
    path = tournament.save(tmp_path / "games.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["games.jsonl"]
    assert Tournament.load(path) == tournament
    path.write_text(path.read_text(encoding="utf-8") + '{"teams": []}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 6"):
        Tournament.load(path)


def test_a_player_that_fails_costs_its_seat_and_a_crash_ends_one_game_only(keywords, table):
    perfect = TablePlayer("perfect", table)

    def broken(obs, cfg):
        raise RuntimeError("boom")

    def asks_the_keyword(obs):
        return obs.keyword or "yes" if obs.turnType == "answer" else keywords[0].word

    def mute(obs):
        return "perhaps" if obs.turnType == "answer" else "Is it old?"

    players = [perfect, *(AgentPlayer(f.__name__, f) for f in (broken, asks_the_keyword, mute))]
    matches = [
        Match(keywords[0], (1, 0, 0, 0)),
        Match(keywords[0], (2, 0, 0, 0)),
        Match(keywords[1], (0, 3, 0, 0)),
        Match(keywords[1], (0, 0, 0, 0)),
    ]
    tournament = play_matches(players, matches, progress=False)
    first, crashed, third, fine = tournament.records
    assert first.winner == 1 and "seat 0 (broken): ERROR" in first.error
    assert crashed.winner is None and "crashed" in crashed.error
    assert third.winner == 1 and "mute" in third.error
    assert fine.winner == "both"
    with pytest.raises(ValueError, match=r"players \[9\]"):
        play_matches(players, [Match(keywords[0], (0, 0, 0, 9))], progress=False)


def test_games_are_those_of_the_arena(keywords, table):
    """One game of the round robin and the same two agents in ``arena.play_game`` give the same transcript."""
    agent = make_agent(log=False)
    robin = play_matches([AgentPlayer("ours", agent)], [Match(keywords[3], (0, 0, 0, 0))], progress=False).records[0]
    arena = play_game(agent, keyword=keywords[3].word, category=keywords[3].category, alts=keywords[3].alts)
    texts = [[(row.question, row.answer, row.guess) for row in team.rounds] for team in robin.teams]
    assert texts == [[(row.question, row.answer, row.guess) for row in team.rounds] for team in arena.teams]
    assert [team.reward for team in robin.teams] == [team.reward for team in arena.teams]


def test_a_player_may_be_an_agent_of_the_arena(table, keywords):
    guesser, answerer = as_agent(TablePlayer("a", table)), as_agent(TablePlayer("b", table))
    for keyword in keywords[:3]:
        rival = lambda obs: "no" if obs.turnType == "answer" else "Is it old?"  # noqa: E731
        record = play_game((guesser, answerer), rival, keyword=keyword.word, alts=keyword.alts)
        assert record.winner == 0, record.error


class Counting(FakeGenerator):
    """Remembers how many conversations came in each call."""

    def __init__(self, *replies, **options):
        super().__init__(*replies, **options)
        self.sizes = []

    def generate(self, conversations, settings=None):
        self.sizes.append(len(conversations))
        return super().generate(conversations, settings)

    def yes_no(self, conversations):
        self.sizes.append(len(conversations))
        return super().yes_no(conversations)


def test_model_calls_of_all_games_are_one_batch(keywords):
    model = Counting("Is it used in a kitchen?", "Is it heavy?", "dog", "cat", "a pan", p_yes=0.7)
    shared = LockstepGenerator(model)
    robot = Robot(asking=[AskLLM(shared)], answering=[AnswerLLM(shared)], guessing=[GuessLLM(shared)])
    player = RobotPlayer("model", robot)
    observations = [Observation("answer", questions=("Is it old?",), keyword=k.word) for k in keywords[:9]]
    assert player.reply("answer", range(9), observations) == ["yes"] * 9
    assert model.sizes == [9]
    notebook = NotebookRobot(model)
    notebook.reply("answer", range(9), observations)
    assert model.sizes == [9, 9]


def test_jobs_in_step_keep_order_errors_and_second_calls():
    model = Counting(*"abcdef")
    shared = LockstepGenerator(model)

    def job(index):
        def run():
            if index == 2:
                raise KeyError("nothing to ask")
            first = shared.generate([f"first {index}"])[0]
            return first + (shared.generate([f"second {index}"])[0] if index == 0 else "")

        return run

    outcomes = run_in_step([job(index) for index in range(4)])
    assert isinstance(outcomes[2], KeyError)
    assert model.sizes == [3, 1]
    assert all(isinstance(outcome, str) for index, outcome in enumerate(outcomes) if index != 2)
    assert shared.generate(["alone"])  # outside of jobs it is the model itself
    assert run_in_step([]) == []


def test_a_model_that_fails_fails_every_job_that_waits():
    class Broken:
        def yes_no(self, conversations):
            raise RuntimeError("out of memory")

    shared = LockstepGenerator(Broken())
    outcomes = run_in_step([lambda: shared.yes_no(["x"])] * 3)
    assert [str(outcome) for outcome in outcomes] == ["out of memory"] * 3


def test_the_notebooks_robot_speaks_as_it_did():
    model = FakeGenerator("Sure! ", "I am not certain", "NO, it is not.", "", "**Is it big?**")
    robot = NotebookRobot(model)
    answer = Observation(
        "answer", questions=("q1", "q2", "q3"), answers=("yes", "no"), keyword="Sieve", category="things"
    )
    replies = [robot.reply("answer", [0], [answer])[0] for _ in range(3)]
    assert replies == ["yes", "no", "no"]  # "certain" holds no "no", "not" does
    turns = model.conversations[0]
    assert [(m.role, m.content) for m in turns[1:]] == [
        ("user", "q1"), ("user", "yes"), ("assistant", "q2"), ("user", "no"), ("assistant", "q3"),
    ]  # fmt: skip
    assert '"Sieve"' in turns[0].content
    assert robot.reply("ask", [0], [Observation("ask")]) == ["Is it a place?"]  # never an empty text
    assert robot.reply("guess", [0], [Observation("guess", questions=("q1",), answers=("no",))]) == ["**Is it big?**"]
    assert not any("Sieve" in m.content for c in model.conversations[3:] for m in c)
    repaired = NotebookRobot(FakeGenerator("yes"), repaired=True)
    repaired.reply("answer", [0], [answer])
    assert [m.content for m in repaired.generator.conversations[0][1:]] == ["q1", "yes", "q2", "no", "q3"]


def test_letter_blind_strangers_toss_a_coin_and_ask_nothing_about_spelling(table):
    blind = next(player for player in strangers(table) if player.name == "letter-blind")
    question = "Does the keyword start with the letter 'a'?"
    observations = [Observation("answer", questions=(question,), keyword="zebra")] * 400
    said = blind.reply("answer", range(1, 1601, 4), observations)
    assert 130 < said.count("yes") < 270
    assert not np.asarray(blind.table.bank.lexical).any()
    perfect = TablePlayer("perfect", table)
    assert set(perfect.reply("answer", range(1, 1601, 4), observations)) == {"no"}


def test_our_default_player_needs_no_model_in_the_round_robin(keywords, table):
    words = Vocabulary.from_weights({keyword.word: 1 for keyword in keywords})
    robot = default_robot(table=table, vocabulary=words)
    robots = [RobotPlayer("ours", robot), RobotPlayer("again", robot)]
    tournament = play_matches(robots, duels(keywords[:5]), progress=False)
    assert all(record.winner is not None for record in tournament.records)

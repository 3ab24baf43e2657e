"""``python -m kaggle_utils.q20``: each command from its arguments to its output on a small table; bad input is said."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest
from tables import synthetic_table

from kaggle_utils.q20 import __main__ as commands
from kaggle_utils.q20.answerer.answerer import Answerer
from kaggle_utils.q20.commands import arena, play, replay
from kaggle_utils.q20.keywords import Keyword, load_keywords
from kaggle_utils.q20.knowledge.table_file import save_table
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.tournament.players import RobotPlayer
from kaggle_utils.q20.tournament.round_robin import Tournament, duels, play_matches


@pytest.fixture(scope="module")
def table():
    return synthetic_table(120, 60, seed=1)


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "small.q20"
    save_table(table, file)
    return file


@pytest.fixture
def run(capsys, monkeypatch):
    """``run("table", "cow", typed="")`` -> (exit status, stdout, stderr)."""

    def run(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = commands.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


class Person:
    """Types what it is told to, and keeps what it was shown."""

    def __init__(self, *lines):
        self.lines, self.shown = list(lines), []

    def ask(self, prompt):
        self.shown.append(prompt)
        return self.lines.pop(0)

    def tell(self, line):
        self.shown.append(line)


# --- the door ------------------------------------------------------------------------------------------------------


def test_the_module_runs_and_shows_an_example():
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_utils.q20", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "examples:" in done.stdout and all(name in done.stdout for name in ("arena", "play", "replay", "table"))


@pytest.mark.parametrize("name", ["arena", "play", "replay", "table"])
def test_every_command_shows_examples_that_begin_with_it(name, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main([name, "--help"])
    assert ended.value.code == 0
    assert f"python -m kaggle_utils.q20 {name} " in capsys.readouterr().out.partition("examples:")[2]


def test_an_unknown_command_ends_with_2_and_names_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main(["tournament"])
    assert ended.value.code == 2
    assert "arena" in capsys.readouterr().err


# --- table ---------------------------------------------------------------------------------------------------------


def test_the_table_is_described(run, path, table):
    status, said, _ = run("table", "--table", path, "--health")
    assert status == 0
    assert f"120 objects, {len(table.bank)} questions" in said
    assert said.count("nearest neighbour") == 2  # with and without questions on the spelling


def test_a_word_and_a_question_are_shown(run, path, table):
    status, said, _ = run("table", "--table", path, table.objects.words[5])
    assert status == 0 and said.startswith(table.objects.words[5]) and "Is it something of kind" in said
    status, said, _ = run("table", "--table", path, "Is it something of kind 7?")
    assert status == 0 and "(made up 1): yes for" in said and "  no: " in said


def test_a_question_on_the_spelling_needs_not_be_in_the_table(run, path, table):
    question = "Does the keyword start with the letter 'q'?"
    assert table.bank.index_of(question) is None
    status, said, _ = run("table", "--table", path, question)
    assert status == 0 and "(rule: letter): yes for" in said
    yes = next(line for line in said.splitlines() if line.startswith("  yes: "))
    listed = yes.removeprefix("  yes: ")
    begin = [word for word in table.objects.words if word.lower().startswith("q")]
    assert sorted(listed.split(", ")) == sorted(begin) if begin else listed == "none"


def test_what_the_table_lacks_is_an_error_that_names_the_nearest(run, path, table):
    word = table.objects.words[5]
    status, _, error = run("table", "--table", path, word + "x")
    assert status == 2 and f"near it: {word}" in error
    status, _, error = run("table", "--table", path, "Is it something of kindness?")
    assert status == 2 and "Is it something of kind" in error.partition("near it:")[2]
    assert run("table", "--table", path, " ")[0] == 2
    assert run("table", "--table", path.with_name("none.q20"))[0] == 2


# --- play ----------------------------------------------------------------------------------------------------------


def test_a_guesser_finds_the_keyword_and_empty_questions_cost_no_round():
    person = Person("", "  ", "Does it start with the letter c?", "", "Is it alive?", "The Cows")
    found = play.person_guesses(Keyword("cow", "things", (), ()), Answerer(), ask=person.ask, tell=person.tell)
    assert found == 2 and not person.lines
    assert person.shown.count(" 1. your question: ") == 3
    assert "    yes (rule)" in person.shown
    assert "    no (not known: a guess)" in person.shown


def test_a_guesser_who_does_not_find_it_is_told():
    person = Person(*["Is it alive?", "no idea"] * 20)
    assert play.person_guesses(Keyword("cow", "things", (), ()), Answerer(), ask=person.ask, tell=person.tell) is None
    assert person.shown[-1] == "It was cow."


def test_a_person_is_asked_about_the_thing_and_not_whether_he_is_an_agent(table):
    """Who is unsure of everything is asked on about meaning: what people know."""
    person = Person(*["?", "n"] * 20)
    questioner = play._questioner(table, 1)
    assert play.person_answers(questioner, table.objects.words, ask=person.ask, tell=person.tell) is None
    asked = [line[4:].strip() for line in person.shown if line[:2].strip().isdigit()]
    assert len(asked) == len(set(asked)) == 20
    assert not any("Agent" in text or "letter" in text for text in asked)


def test_slips_of_the_finger_are_no_answers(table):
    questioner = Questioner(table, profiles=play.PEOPLE, handshake=False, seed=1)
    person = Person("mybe", "", "YES", "what", "?", "", "y")
    word = play.person_answers(questioner, table.objects.words, ask=person.ask, tell=person.tell)
    assert word in table.objects.words and not person.lines
    assert [line for line in person.shown if line.startswith("    y")] == ["    y, n or ?: "] * 2 + ["    y or n: "] * 3
    assert questioner.heard[0].answer is True


def test_truthful_answers_lead_to_the_word(table):
    found = 0
    for index in range(0, 120, 12):
        questioner = play._questioner(table, index)
        column = {text: number for number, text in enumerate(table.bank.texts)}

        def ask(prompt, index=index, column=column):
            if "Is it '" in prompt:
                return "y" if repr(table.objects.words[index]) in prompt else "n"
            return "y" if table.theta[index, column[prompt[4:].strip()]] > 0.5 else "n"

        found += play.person_answers(questioner, table.objects.words, ask=ask, tell=len) == table.objects.words[index]
    assert found >= 9


def test_play_from_the_command_line(run, path):
    word = load_keywords()[0].word
    status, said, _ = run("play", "guesser", "--table", path, "--keyword", word, typed=f"Is it old?\n{word}\n")
    assert status == 0 and f"Yes, {word}! Found in round 1." in said
    again = [run("play", "guesser", "--table", path, "--seed", 3, typed="Is it old?\nx\n" * 20) for _ in range(2)]
    assert again[0] == again[1] and "It was " in again[0][1]
    assert run("play", "answerer", "--table", path, typed="y\nn\n")[0] == 1  # the input ends


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("guesser", "--keyword", ""), "expected a word"),
        (("guesser", "--keyword", " "), "expected a word"),
        (("answerer", "--keyword", "cow"), "for a guesser"),
        (("answerer", "--seed", "-1"), "0 or more"),
    ],
)
def test_play_refuses_what_it_cannot_play(run, path, words, said):
    status, _, error = run("play", *words, "--table", path)
    assert status == 2 and said in error


# --- arena and replay ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(path, tmp_path_factory):
    """A tournament's file and what was printed, both by the command itself."""
    file, said = tmp_path_factory.mktemp("games") / "games.jsonl", io.StringIO()
    words = ["arena", "--games", "3", "--table", str(path), "--category", "place", "--seed", "1", "-o", str(file)]
    with contextlib.redirect_stdout(said):
        assert commands.main(words) == 0
    return file, said.getvalue()


@pytest.fixture(scope="module")
def games(played):
    """The file alone."""
    return played[0]


def test_arena_prints_ratings_and_saves_what_it_played(played):
    games, said = played
    tournament = Tournament.load(games)
    assert tournament.players == ("ours", "perfect", "noisy", "letter-blind", "sulky", "believer")
    assert [record.category for record in tournament.records] == ["place"] * 3
    assert all(set(team.statuses) == {"DONE"} for record in tournament.records for team in record.teams)
    assert said == f"{arena.leaderboard(tournament.standings(seed=1))}\ngames: {games}\n"


def test_arena_says_everything_that_is_wrong_before_it_plays(run, tmp_path, monkeypatch):
    monkeypatch.setattr(arena, "play_matches", lambda *_, **__: pytest.fail("it has played"))
    missing = tmp_path / "none" / "games.jsonl"
    status, _, error = run("arena", "--games", 0, "--chunk", 0, "--model", tmp_path, "-o", missing)
    assert status == 2
    assert all(f"--{name} " in error for name in ("games", "chunk", "model", "output"))
    assert str(missing.parent) in error and not missing.parent.exists()
    assert "that is a folder" in run("arena", "-o", tmp_path)[2]
    assert "no keyword has category" in run("arena", "--category", "people")[2]
    assert "none.q20" in run("arena", "--table", tmp_path / "none.q20")[2]


def test_arena_with_a_model_brings_a_second_player_of_ours_and_the_notebooks_robot(tiny_llama, table):
    players = arena._ours(table, tiny_llama)
    assert [player.name for player in players] == ["ours", "ours with the model", "notebook"]
    assert isinstance(players[1], RobotPlayer)
    game = play_matches(players, duels([load_keywords()[0]], first=(1, 1), second=(2, 2)), progress=False).records[0]
    assert not game.error and game.teams[1].rounds[0].question
    without, with_model = (player.robot.strategies("answering") for player in players[:2])
    assert len(with_model) > len(without)


def test_replay_lists_the_games_of_a_tournament_and_shows_one(run, games):
    status, said, _ = run("replay", games)
    records = Tournament.load(games).records
    assert status == 0 and len(said.splitlines()) == 4 and all(record.keyword in said for record in records)
    status, said, _ = run("replay", games, "--game", 2, "--no-candidates")
    page = games.with_name("games-2.html")
    assert status == 0 and said.strip() == str(page)
    assert records[1].keyword in page.read_text(encoding="utf-8")
    status, _, error = run("replay", games, "--game", 4)
    assert status == 2 and "1 to 3" in error


def test_replay_of_one_game_needs_no_number(run, games, tmp_path):
    one = tmp_path / "one.jsonl"
    row = json.loads(games.read_text(encoding="utf-8").splitlines()[0])
    row["teams"] = [team | {"rounds": team["rounds"][:1]} for team in row["teams"]]
    one.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert run("replay", one, "--spelling")[0] == 0
    assert one.with_suffix(".html").exists()
    saved = tmp_path / "record.json"
    saved.write_text(Tournament.load(one).records[0].to_json(), encoding="utf-8")
    assert run("replay", saved, "--no-candidates", "-o", tmp_path / "x.html")[0] == 0
    assert "is one game" in run("replay", saved, "--game", 2)[2]
    (tmp_path / "none.jsonl").write_text("", encoding="utf-8")
    assert "no games" in run("replay", tmp_path / "none.jsonl")[2]
    (tmp_path / "bad.jsonl").write_text(json.dumps({"teams": []}) + "\n", encoding="utf-8")
    assert "line 1" in run("replay", tmp_path / "bad.jsonl")[2]


def test_a_long_list_is_cut(games):
    records = Tournament.load(games).records
    lines = replay.game_lines(records * 20)
    assert len(lines) == 41 and "20 more" in lines[-1]


def test_a_reader_who_closes_the_pipe_is_no_error():
    code = "import sys; from kaggle_utils.q20.__main__ import main; sys.exit(main(['table']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(timeout=60)
    assert os.name != "posix" or process.returncode in (0, 120)

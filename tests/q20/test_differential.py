"""Our referee and our matcher against the real environment, which runs in another process."""

from __future__ import annotations

import itertools
import random

import real_game

from kaggle_utils.q20.hostile import hostile_texts
from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.protocol import keywords_match, normalize
from kaggle_utils.q20.rules import EpisodeCrash, Game

ODD = [
    "",
    None,
    7,
    True,
    ["yes"],
    {"no": 1},
    1.5,
    " ",
    "the",
    "\x00",
    "\ud800",
    "はい",
    "😀" * 400,
    "x" * 9000,
    "YES" * 900,
]
QUESTIONS = ["Is it alive?", "Does it precede 'm'?", "?", "Q" * 751, "<end_of_turn>", "Ist es größer?"]
ANSWERS = ["yes", "no", "Yes.", "No way", "yesno", "noyes", "I know nothing", "not sure", "none", "YES " * 500]


def test_every_game_equals_the_real_one():
    """Any difference in an observation, status, reward or crash between Game and the environment."""
    games = [*_special_games(), *(_random_game(random.Random(seed)) for seed in range(60))]
    games += [_hostile_game(random.Random(seed)) for seed in range(20)]
    results = real_game.play_scripts(games)
    endings = set()
    for number, (game, real) in enumerate(zip(games, results, strict=True)):
        ours = _play_ours(game)
        assert ours == _states(real), f"game {number}: {game}"
        endings.add("crash" if real["crashed"] else "+".join(ours["steps"][-1]["statuses"]))
    assert {"crash", "DONE+DONE+DONE+DONE"} < endings  # the games reach what they are here for
    assert any("INVALID" in ending for ending in endings) and any("ERROR" in ending for ending in endings)
    assert any("TIMEOUT" in ending for ending in endings)


def test_matcher_equals_the_environments():
    """A guess that one side takes for the keyword and the other does not."""
    random_ = random.Random(0)
    words = [name for row in load_keywords() for name in (row.word, *row.alts)]
    pairs = [(a, _mutated(a, random_)) for a in words for _ in range(3)]
    alphabet = "aesS thE'-é.\u0130ßſ\t"
    short = ["".join(random_.choices(alphabet, k=random_.randrange(7))) for _ in range(4000)]
    pairs += itertools.pairwise(short)
    pairs += [(a, a + ending) for a in short[:1000] for ending in ("s", "es", "the", " ")]
    real = real_game.match_pairs(pairs)
    ours = [[keywords_match(a, b), normalize(a)] for a, b in pairs]
    wrong = [(pair, real_, our) for pair, real_, our in zip(pairs, real, ours, strict=True) if real_ != our]
    assert not wrong, wrong[:5]
    assert 1000 < sum(matched for matched, _ in real) < len(real) - 1000


def _mutated(word, random_):
    changes = [
        lambda w: w + random_.choice(["s", "es", "S", "!", " the", "x", "ies"]),
        lambda w: random_.choice(["the ", "a ", "The", "-"]) + w,
        str.upper,
        lambda w: w.replace(" ", random_.choice(["", "-", "  ", "\t"])),
        lambda w: w[:-1],
    ]
    return random_.choice(changes)(word)


def _special_games():
    ask, yes, wrong, right = ["Is it red?"], ["yes"], ["dog"], ["The Cats!"]

    def seats(*scripts):
        rows = [[list(item) if isinstance(item, tuple) else ["say", item, 0] for item in script] for script in scripts]
        return {"keyword": "cat", "category": "things", "alts": ["Felis", "house cat"], "seats": rows}

    nobody = [*ask, *wrong]
    late = [*nobody] * 19 + [*ask, *right]
    yield seats(nobody, yes, nobody, yes)  # 20 rounds, nobody finds it
    yield seats(late, yes, nobody, yes)  # found by the last guess
    yield seats(late, yes, late, yes)
    yield seats([*ask, *right], yes, nobody, yes)
    yield seats([*ask, "HOUSE-CAT"], yes, [*ask, "feli"], yes)
    yield seats(nobody, yes, ["Cat?", *wrong], yes)  # a question that is the keyword: the episode dies
    yield seats(["cats", *wrong], yes, ["The cat", *wrong], yes)  # both teams at once: it does not
    yield seats(["cats", *right], yes, ["The cat", *wrong], ["maybe"])
    yield seats([*ask, *wrong, "cat", *wrong], yes, nobody, yes)
    for odd, position in itertools.product([*ODD, "raise"], range(4)):  # every odd reply in every seat, first turn
        scripts = [nobody, yes, nobody, yes]
        scripts[position] = [("raise", "boom", 0)] if odd == "raise" else [odd]
        yield seats(*scripts)
        if position == 0:  # and as a guess, while the other team wins or loses
            yield seats([*ask, scripts[0][0]], yes, nobody, yes)
            yield seats([*ask, scripts[0][0]], yes, [*ask, *right], yes)
    found = [*nobody * 6, *ask, *right]
    for seconds in (60, 60.0000004, 75.5, 359.999, 360, 360.5, 1000):  # the clock of 60 s and the bank of 300 s
        for position in range(4):
            scripts = [found, yes, found, yes]
            scripts[position] = [("say", text, seconds) for text in scripts[position]]
            yield seats(*scripts)


def _random_game(random_):
    """Mostly sane replies, so that games get far, with odd ones, slow ones and the keyword strewn in."""
    keyword = random_.choice(load_keywords())
    rare = random_.choice([0.004, 0.03, 0.08, 0.2])

    def reply(choices):
        seconds = random_.choice([0, 0, 0, 1.5, 61.25, 90.1, 400]) if random_.random() < rare * 3 else 0.01
        if random_.random() < rare:
            return random_.choice([["raise", "boom", seconds], ["say", random_.choice(ODD), seconds]])
        if random_.random() < rare / 2:
            return ["say", random_.choice([keyword.word, keyword.word + "s", *keyword.alts]), seconds]
        return ["say", random_.choice(choices), seconds]

    guesses = ["dog", "W" * 101, keyword.word.upper() if random_.random() < 0.1 else "nothing", "Is it " + keyword.word]
    seats = []
    for _ in range(2):
        seats.append([reply(QUESTIONS if turn % 2 == 0 else guesses) for turn in range(40)])
        seats.append([reply(ANSWERS) for _ in range(20)])
    return {"keyword": keyword.word, "category": keyword.category, "alts": list(keyword.alts), "seats": seats}


def _hostile_game(random_):
    """Texts that strangers send to break agents, as questions, answers, guesses and as the keyword itself."""
    texts = hostile_texts()
    row = random_.choice(load_keywords())
    keyword = random_.choice([row.word, row.word, random_.choice([t for t in texts if t.strip()])[:60]])
    share = random_.choice([0.02, 0.3, 1.0])

    def reply(sane, *, disguised):
        text = random_.choice(texts) if random_.random() < share else random_.choice(sane)
        if disguised and random_.random() < 0.02:  # the keyword as the environment's matcher still takes it
            text = random_.choice(
                [f"The {keyword}", keyword.upper() + "S", f" {keyword}!?", f"{keyword[:2]}the{keyword[2:]}"]
            )
        return ["say", text, random_.choice([0, 0, 0.5, 60, 61])]

    seats = []
    for _ in range(2):
        seats.append([reply(QUESTIONS if turn % 2 == 0 else ["dog", "cat"], disguised=turn % 2) for turn in range(40)])
        seats.append([reply(ANSWERS, disguised=False) for _ in range(20)])
    return {"keyword": keyword, "category": row.category, "alts": list(row.alts), "seats": seats}


def _play_ours(game):
    ours = Game(game["keyword"], game["category"], game["alts"])
    turns = [iter(itertools.cycle(script)) for script in game["seats"]]
    record, seen, crashed = [_snapshot(ours)], [], False
    while not ours.done:
        actions, durations = [None] * 4, [0.0] * 4
        for seat in ours.active:
            seen.append([seat, _plain(ours.observations()[seat])])
            kind, value, durations[seat] = next(turns[seat])
            actions[seat] = RuntimeError(value) if kind == "raise" else value
        try:
            ours.step(actions, durations=durations)
        except EpisodeCrash:
            crashed = True
            break
        record.append(_snapshot(ours))
    return {"steps": record, "seen": seen, "crashed": crashed}


def _snapshot(game):
    observations = [_plain(observation) for observation in game.observations()]
    return {"observations": observations, "rewards": list(game.rewards), "statuses": list(game.statuses)}


def _states(real):
    steps = []
    for states in real["steps"]:
        step = states[0]["observation"]["step"]
        steps.append(
            {
                "observations": [_plain({**state["observation"], "step": step}) for state in states],
                "rewards": [state["reward"] for state in states],
                "statuses": [state["status"] for state in states],
            }
        )
    seen = [[seat, _plain(observation)] for seat, observation in real["seen"]]
    return {"steps": steps, "seen": seen, "crashed": real["crashed"]}


def _plain(observation):
    return {**observation, "remainingOverageTime": round(observation["remainingOverageTime"], 4)}

"""What the round robin plays is what the real environment would have made of the same replies."""

from __future__ import annotations

import itertools

import pytest
import real_game
from tables import synthetic_table

from kaggle_utils.q20.keywords import Keyword
from kaggle_utils.q20.tournament.round_robin import Match, play_matches, random_matches
from kaggle_utils.q20.tournament.strangers import strangers


class Talkative:
    """Hands every turn on to a player, spoils some, and remembers what was said."""

    def __init__(self, player, said, *, odd):
        self.name, self.player, self.said, self.odd = player.name, player, said, odd
        self.begin = player.begin

    def reply(self, turn, seats, observations):
        replies = list(self.player.reply(turn, seats, observations))
        for place, (seat, obs) in enumerate(zip(seats, observations, strict=True)):
            key = (seat * 31 + obs.step * 7) % 97
            if key in self.odd:
                replies[place] = self.odd[key]
            self.said.setdefault(seat, []).append(["say", replies[place], 0])
        return replies


@pytest.mark.parametrize("odd", [{}, {5: "", 6: "maybe", 7: None, 8: "YES and no", 9: 7}], ids=["sane", "odd"])
def test_every_record_equals_the_real_game(odd):
    """The strangers' games, replayed reply by reply: texts, rewards and statuses must be the environment's."""
    table, said = synthetic_table(60, 80, seed=1), {}
    keywords = [Keyword(thing.word, thing.category, thing.aliases, ()) for thing in table.objects]
    matches = random_matches(5, keywords, games=25, seed=8)
    players = [Talkative(player, said, odd=odd) for player in strangers(table)]
    records = play_matches(players, [Match(m.keyword, m.seats) for m in matches], progress=False).records
    scripts = [
        {
            "keyword": match.keyword.word,
            "category": match.keyword.category,
            "alts": list(match.keyword.alts),
            "seats": [said.get(4 * game + seat, [["say", "never asked", 0]]) for seat in range(4)],
        }
        for game, match in enumerate(matches)
    ]
    for record, real in zip(records, real_game.play_scripts(scripts), strict=True):
        assert real["crashed"] == record.error.startswith("the episode crashed")
        last = real["steps"][-1]
        for side, team in enumerate(record.teams):
            pair = last[2 * side : 2 * side + 2]
            rewards = [state["reward"] for state in pair]
            if not real["crashed"]:
                assert team.reward == (None if None in rewards else rewards[0])
                assert list(team.statuses) == [state["status"] for state in pair]
            seen = pair[0]["observation"]
            texts = itertools.zip_longest(seen["questions"], seen["answers"], seen["guesses"], fillvalue="")
            assert [(row.question, row.answer, row.guess) for row in team.rounds] == list(texts)
    endings = {status for record in records for team in record.teams for status in team.statuses}
    assert ("ERROR" in endings) == bool(odd)

"""Recorded games for tests of replays, plain and hostile, and a reader of the pages they become."""

from __future__ import annotations

from html.parser import HTMLParser

from kaggle_utils.q20.record import GameRecord, Round, Team
from kaggle_utils.q20.replay import render_html

__all__ = ["HOSTILE", "PAYLOAD", "Document", "a_record", "a_round", "hostile_game", "long_game", "text_of"]

PAYLOAD = '<script>document.title="PWNED"</script><img src=x onerror=document.title="PWNED">'
HOSTILE = (
    f"</title></style></script></textarea>--> {PAYLOAD} \"quotes\" 'single' &lt;&amp; javascript:alert(1) "
    '" onmouseover="alert(1) \u202eoverride\u2066 \ud800 \udfff \0 \x1b[2J zero\u200bwidth \U000e0041 \n\n\r\t '
    "\u2028 \ufeff z" + "\u0301" * 60 + "W" * 300
)


def a_round(question="Is it alive?", answer="no", guess="cat", seconds=(0.1, 0.2, 0.3), **fields) -> Round:
    return Round(question, answer, guess, seconds, **fields)


def a_record(*teams, keyword="coffee beans", alts=("coffee",), rewards=(None, None), statuses=None) -> GameRecord:
    """Two teams from two lists of rounds."""
    statuses = statuses or (("DONE", "DONE"),) * 2
    made = (Team(n, tuple(r), w, s) for n, r, w, s in zip(("Ants", "Bees"), teams, rewards, statuses, strict=True))
    return GameRecord(keyword, "things", alts, tuple(made), "a test")


def long_game(question="Is it alive?" * 5, guess="something else") -> GameRecord:
    words = tuple((f"word number {n}", 0.3 / (n + 1)) for n in range(6))
    rounds = [
        a_round(question, guess=guess, candidates=words, candidate_count=2 ** (20 - n), entropy_bits=20.0 - n)
        for n in range(20)
    ]
    return a_record(rounds, rounds, rewards=(-1, -1))


def hostile_game() -> GameRecord:
    words = ((HOSTILE, float("nan")), (HOSTILE, 7.0), ("ok", -1.0))
    bad = Round(HOSTILE, HOSTILE, HOSTILE, (61.5, None, float("nan")), words, 3, float("inf"))
    team = Team(HOSTILE, (bad, bad, a_round(HOSTILE, "", "", (1e308, -1.0, 1e308))), float("nan"), (HOSTILE, "ERROR"))
    return GameRecord(HOSTILE, HOSTILE, (HOSTILE, ""), (team, team), HOSTILE)


class Document(HTMLParser):
    """Tags, attributes and text of a page; wrongly nested tags are listed."""

    VOID = frozenset({"meta", "rect", "path", "circle", "polyline"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open, self.wrong = [], set(), "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def text_of(record: GameRecord) -> str:
    return " ".join(Document(render_html(record)).text.split())

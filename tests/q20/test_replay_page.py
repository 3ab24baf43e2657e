"""The page of a replay: nothing from outside, nothing a player wrote ever runs, readable everywhere."""

from __future__ import annotations

import itertools
import re

import browser
import pytest
from replay_games import PAYLOAD, Document, hostile_game, long_game

from kaggle_utils.q20.page.document import _style
from kaggle_utils.q20.page.text import show
from kaggle_utils.q20.protocol import QUESTION_LIMIT
from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.replay import render_html, write_html

needs_browser = pytest.mark.skipif(browser.find_browser() is None, reason="no browser is installed")


# --- one file, nothing from outside ------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_from_outside():
    html = render_html(long_game())
    for forbidden in ("http:", "https:", "//", "src=", "@import", "url(", "<script", "<link", "<iframe", "style="):
        assert forbidden not in html, forbidden
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html).group(1)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_a_full_game_stays_under_200_kb_even_when_every_character_must_be_escaped():
    assert len(render_html(long_game()).encode()) < 120_000
    for text in ("&", "<", "\u202e\u2066", "\ud800a", "語", "🦊"):
        game = long_game((text * QUESTION_LIMIT)[:QUESTION_LIMIT], guess=(text * 100)[:100])
        assert len(render_html(game).encode()) < 200_000, text


def test_same_record_same_bytes():
    assert render_html(long_game()) == render_html(long_game())
    record = long_game()
    assert render_html(GameRecord.from_json(record.to_json())) == render_html(record)


# --- strangers' texts --------------------------------------------------------------------------------------------


def test_no_text_of_a_player_becomes_markup():
    """Every field hostile: the page may hold only our own tags and attributes, properly nested, and encodes."""
    html = render_html(hostile_game())
    html.encode("utf-8")
    page, benign = Document(html), Document(render_html(long_game()))
    assert set(page.tags) <= set(benign.tags) | {"b", "circle"}
    assert page.attributes <= benign.attributes
    assert page.wrong == benign.wrong == [] and page.open == benign.open == []
    assert "alert(1)" in page.text, "the text itself must still be shown"


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200b", "\u200f", "\ud800", "\0", "\ufeff", "\U000e0041", "\u3164"]
)
def test_characters_that_hide_or_reorder_are_shown_by_their_code(hidden):
    shown = show(f"ca{hidden}t")
    assert hidden not in shown
    assert f"U+{ord(hidden):04X}" in shown


def test_ordinary_scripts_and_emoji_stay_as_they_are():
    for text in ("مرحبا بالعالم", "日本語", "👩‍👩‍👧 ❤️", "naïve café"):
        assert show(text) == f"<bdi>{text}</bdi>"


def test_an_enormous_text_is_cut_with_a_note():
    assert len(show("ab" * 50_000, limit=300)) < 500
    assert "99,700 more characters" in show("ab" * 50_000, limit=300)
    assert "700 more characters" in show("a" * 1000, limit=300)


@needs_browser
def test_a_browser_runs_nothing_of_what_players_wrote():
    """Escaping and policy each hold alone; the same payload does run on a page without either."""
    html = render_html(hostile_game())
    without_policy = re.sub(r"<meta http-equiv[^>]*>", "", html)
    assert without_policy != html
    unescaped = html.replace("</main>", f"{PAYLOAD}</main>")
    control = without_policy.replace("</main>", f"{PAYLOAD}</main>")
    assert "<title>PWNED" not in browser.dump_dom(html)
    titles = browser.measure([(page, 800) for page in (without_policy, unescaped, control)], "page.title")
    assert titles[0] != "PWNED", "escaping failed"
    assert titles[1] != "PWNED", "the policy failed"
    assert titles[2] == "PWNED", "the payload is harmless: this test shows nothing"


# --- as people see it --------------------------------------------------------------------------------------------


@needs_browser
def test_no_horizontal_scroll():
    """Whatever is written, on a phone (390 and 320 pixels) and on a desk."""
    cases = [(game, width) for game in (long_game(), hostile_game()) for width in (390, 320, 1200)]
    size = "[page.documentElement.scrollWidth, page.documentElement.clientWidth]"
    sizes = browser.measure([(render_html(game), width) for game, width in cases], size)
    for (_, width), (wide, room) in zip(cases, sizes, strict=True):
        assert 0.9 * width < room <= width, "the frame was not measured at this width"
        assert wide <= room, f"{wide} pixels wide on a screen of {width}"


@needs_browser
def test_the_style_sheet_is_let_through_by_the_policy_in_light_and_dark():
    colour = "page.defaultView.getComputedStyle(page.body).backgroundColor"
    light, dark = (browser.measure([(render_html(long_game()), 800)], colour, dark=dark)[0] for dark in (False, True))
    brightness = [int(re.match(r"rgb\((\d+),", found).group(1)) for found in (light, dark)]
    assert brightness[0] > 200 > 60 > brightness[1]


@needs_browser
def test_teams_stand_side_by_side_on_a_desk_and_stacked_on_a_phone():
    boxes = '[...page.querySelectorAll(".team")].map(team=>team.getBoundingClientRect().toJSON())'
    html = render_html(long_game())
    (left, right), (upper, lower) = browser.measure([(html, 1100), (html, 390)], boxes)
    assert left["width"] == pytest.approx(right["width"])
    assert left["top"] == right["top"] and left["right"] < right["left"]
    assert upper["bottom"] <= lower["top"] and upper["left"] == lower["left"]


@needs_browser
def test_a_screenshot_is_a_png(tmp_path):
    shot = browser.screenshot(
        write_html(long_game(), tmp_path / "a.html"), width=390, height=800, target=tmp_path / "a.png"
    )
    assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 10_000


def test_headings_descend_and_tables_have_headers():
    html = render_html(long_game())
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert html.count("<table") == html.count("<thead") and 'scope="row"' in html and 'scope="col"' in html
    assert '<html lang="en">' in html


def test_every_class_of_the_page_is_known_to_the_style_sheet():
    html = render_html(long_game()) + render_html(hostile_game())
    used = {name for names in re.findall(r'<[^>]* class="([^"<>]*)"', html) for name in names.split()}
    known = set(re.findall(r"\.([a-z][\w-]*)", _style()))
    assert used - known <= {"no", "tied", "question"}, "classes without a rule"
    for rule in (".team.b .meter {", "footer {", ".team.b h3 {"):
        assert f"\n{rule}" in _style(), rule


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(scheme):
    """WCAG AA: 4.5 to 1 for every pair of text and ground that the sheet combines."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", _style(), re.S)[:2]
    )
    colours = light if scheme == "light" else dark
    assert set(light) == set(dark)

    def luminance(name):
        parts = [int(colours[name][at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [(ink, ground) for ink in ("ink", "soft") for ground in ("page", "card", "hit")]
    pairs += [(ink, ground) for ink in ("a", "b", "good", "bad") for ground in ("card", "hit")]
    pairs += [("good", "good-back"), ("bad", "bad-back"), ("ink", "calm-back")]
    for ink, ground in pairs:
        low, high = sorted((luminance(ink), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)

"""The shipped keyword list against the environment that is installed, and the script that compiles it."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

import pytest

from kaggle_utils.q20 import keywords as module
from kaggle_utils.q20.keywords import is_bare_keyword, keywords_frame, load_keywords
from kaggle_utils.q20.protocol import keywords_match


@pytest.fixture(scope="module")
def script(root):
    spec = importlib.util.spec_from_file_location("compile_keywords", root / "scripts" / "compile_keywords.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_counts_of_both_versions():
    """A keyword lost in compiling: 1.14.15 ships 579 things and 563 places (11 twice), 1.18.0 the same things."""
    assert len(load_keywords(version="1.18.0")) == len(load_keywords(category="things")) == 579
    assert len(load_keywords(version="1.14.15", category="place")) == 552
    assert len(load_keywords()) == 1131
    assert {row.word for row in load_keywords(version="1.18.0")} <= {
        row.word for row in load_keywords(version="1.14.15")
    }


def test_equal_to_the_installed_environment(script, tmp_path):
    """The list differs from what the real environment draws from."""
    found = importlib.util.find_spec("kaggle_environments")
    if found is None:
        pytest.skip("kaggle-environments 1.18.0 is not installed (make test installs it)")
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(Path(found.submodule_search_locations[0], "envs/llm_20_questions/keywords.py"), script.MEMBER)
    ours = {(row.word, row.category, row.alts) for row in load_keywords(version="1.18.0")}
    theirs = {
        (row["word"], row["category"], tuple(row["alts"]))
        for row in script.compile_keywords([("x", script.read_wheel(wheel))])
    }
    assert ours == theirs


def test_compiling_wheels_merges_versions_and_executes_nothing(script, tmp_path):
    """Code in a keywords.py that runs, a version that is lost, or output that changes from run to run."""
    lists = {
        "1.14.15": [{"category": "place", "words": [{"keyword": "Rome", "alts": ["roma"]}] * 2}],
        "1.18.0": [{"category": "things", "words": [{"keyword": "Apple", "alts": []}]}],
    }
    lists["1.14.15"] += lists["1.18.0"]
    for version, value in lists.items():
        with zipfile.ZipFile(tmp_path / f"kaggle_environments-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr(script.MEMBER, f"raise SystemExit\nKEYWORDS_JSON = {json.dumps(value)!r}\n")
    output = tmp_path / "keywords.json"
    for _ in range(2):
        assert script.main(["--wheels", str(tmp_path), "--output", str(output)]) == 0
        assert json.loads(output.read_text())["keywords"] == [
            {"word": "Rome", "category": "place", "alts": ["roma"], "versions": ["1.14.15"]},
            {"word": "Apple", "category": "things", "alts": [], "versions": ["1.14.15", "1.18.0"]},
        ]
    with pytest.raises(FileNotFoundError, match=r"1\.14\.15"):
        script.main(["--wheels", str(tmp_path / "nowhere"), "--output", str(output)])


def test_unknown_version_and_category_say_what_there_is():
    with pytest.raises(ValueError, match=r"1\.14\.15.*1\.18\.0"):
        load_keywords(version="1.20.0")
    with pytest.raises(ValueError, match=r"place.*things"):
        load_keywords(category="animals")


def test_callers_cannot_change_the_list():
    load_keywords().clear()
    assert len(load_keywords()) == 1131


def test_frame():
    frame = keywords_frame(version="1.18.0")
    assert list(frame.columns) == ["word", "category", "alts", "versions"] and len(frame) == 579
    assert frame.set_index("word").loc["Air Conditioner", "alts"] == ("Air Conditioning",)


def test_bare_keywords_are_those_that_the_environment_matches():
    """A question that passes here and is the keyword there: the episode dies."""
    names = [name for row in load_keywords() for name in (row.word, *row.alts)]
    forms = (str.upper, "The {}?".format, "{}s".format, "{}es".format, lambda name: name[:-1], "Is it {}?".format)
    for form in forms:
        for name in names[::50]:
            text = form(name)
            assert is_bare_keyword(text) == any(keywords_match(text, other) for other in names), text
    assert not is_bare_keyword("") and not is_bare_keyword("?")


def test_the_data_names_its_source():
    head = json.loads(module._DATA.read_text(encoding="utf-8"))
    assert "kaggle-environments 1.14.15, 1.18.0" in head["source"] and "Apache" in head["copyright"]

"""The packed main.py, loaded as the environment loads it: exec, another working directory, the last callable."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forked import run_forked
from real_game import play_real

LOADER = """
import json, os, sys, time
def load(path):  # what kaggle_environments.agent.get_last_callable does
    code, env = compile(open(path, encoding="utf-8").read(), path, "exec"), {}
    sys.path.append(os.path.dirname(path))
    exec(code, env)
    sys.path.pop()
    return [v for v in env.values() if callable(v)][-1], env
ASK = {"turnType": "ask", "role": "guesser", "questions": [], "answers": [], "guesses": []}
REFUSED = {**ASK, "questions": ["Is it Agent Alpha?"], "answers": ["no"], "guesses": ["table"]}
ANSWER = {"turnType": "answer", "questions": ["Is it admired by poets?"], "keyword": "cat", "category": "things"}
GUESS = {"turnType": "guess", "questions": ["Is it Agent Alpha?"], "answers": ["yes"], "guesses": []}
CFG = {"actTimeout": 60}
"""


@pytest.fixture
def packed(root, tmp_path) -> Path:
    """An unpacked submission without a model."""
    return unpack(root, tmp_path / "agent")


def unpack(root: Path, folder: Path) -> Path:
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(root / "kaggle_utils", folder / "kaggle_utils", ignore=skip)
    shutil.copy(root / "submission_builder" / "templates" / "main.py", folder / "main.py")
    return folder


def run(packed: Path, code: str, *, path: str | None = None, cwd: Path | None = None, forked: bool = False):
    """Run ``code`` after LOADER in a clean process; return its last line of stdout as JSON, and stderr.

    ``forked``: the process has torch and transformers from this one, for tests to which it is not to be clean.
    """
    elsewhere = packed.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    code = f"{LOADER}\nMAIN = {path or str(packed / 'main.py')!r}\n{code}"
    if forked:
        done = run_forked(code, elsewhere, afresh="kaggle_utils")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd or elsewhere,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


ALL_TURNS = """
agent, env = load(MAIN)
print(json.dumps([agent(obs, CFG) for obs in (ASK, REFUSED, ANSWER, GUESS, None)]))
"""


def check_rules_only(replies):
    ask, refused, answer, guess, nothing = replies
    assert ask == "Is it Agent Alpha?"
    assert refused.endswith("?")
    assert answer == "no"
    assert guess
    assert nothing == "no"


def test_plays_by_rules_without_a_model(packed):
    known = 'agent({**ANSWER, "questions": ["Is it something you can eat?"], "keyword": "banana"}, CFG)'
    (replies, knows), errors = run(
        packed, ALL_TURNS.replace("print(json.dumps([", "print(json.dumps([[").replace("]))", f"], {known}]))")
    )
    check_rules_only(replies)
    assert knows == "yes", "the packed table answers what is meant"
    assert errors == ""


def test_finds_itself_from_a_relative_path_and_uses_the_packed_copy(packed):
    code = """
agent, env = load(MAIN)
import kaggle_utils
print(json.dumps([agent.__name__, str(env["FOLDER"]), kaggle_utils.__file__, sys.path[0]]))
"""
    (name, folder, package, first), _ = run(packed, code, path="agent/main.py", cwd=packed.parent)
    assert name == "agent"
    assert Path(folder) == packed
    assert Path(package).parent.parent == packed
    assert Path(first) == packed


def test_the_first_reply_comes_at_once(packed):
    code = """
start, cpu = time.perf_counter(), time.process_time()
agent, env = load(MAIN)
agent(ASK, CFG)
first = time.process_time() - cpu
agent({**GUESS, "answers": ["yes"]}, CFG); agent(ANSWER, CFG)
heavy = sorted({"torch", "transformers", "pandas"} & set(sys.modules))
print(json.dumps([first, time.perf_counter() - start, heavy]))
"""
    (first, seconds, heavy), _ = run(packed, code)
    assert first < 2  # of processor time: half a second on an idle machine, twice that where others share the caches
    assert seconds < 20
    assert heavy == []


@pytest.fixture
def with_model(packed, tiny_llama) -> Path:
    """An unpacked submission with a model; replies are kept short."""
    (packed / "model").symlink_to(tiny_llama)
    (packed / "agent.json").write_text('{"max_new_tokens": 6}')
    return packed


def test_four_seats_in_one_process_share_one_model_and_ask_it_what_rules_cannot_answer(with_model):
    code = """
import contextlib, io
seats = [load(MAIN) for _ in range(4)]
models = {id(env["load_model"](env["read_settings"]())) for _, env in seats}
said = io.StringIO()
with contextlib.redirect_stdout(said):
    replies = [agent(obs, CFG) for obs in (ASK, REFUSED, ANSWER, GUESS) for agent, _ in seats]
rows = [json.loads(line) for line in said.getvalue().splitlines()]
print(json.dumps([len(models), replies, [row["strategy"] for row in rows]]))
"""
    (models, replies, strategies), _ = run(with_model, code, forked=True)
    assert models == 1
    assert replies[:4] == ["Is it Agent Alpha?"] * 4
    assert all(reply.endswith("?") for reply in replies[4:8])
    assert len(set(replies[8:12])) == 1
    assert replies[8] in ("yes", "no")
    assert all(replies[12:])
    assert strategies[8:12] == ["AnswerKnowing"] * 4, "the table and the model"


BROKEN = ["{", "{}", '{"model_type": "no such model"}', ""]
SETTINGS = {
    '{"act_timeout": 50}': "",
    '{"act_timeout": 50, "temperature": 1}': "unknown settings",
    '{"act_timeout": "soon"}': "settings cannot be used",
    '{"model": 7}': "settings cannot be used",
    "{act_timeout": "cannot be used",
    "[1, 2]": "cannot be used",
    '{"threshold": 9, "max_new_tokens": null}': "",
}
PLAY_ALL = """
import threading
found = []
for folder, turns in FOLDERS:
    kept, errors = os.dup(2), os.path.join(folder, "errors.txt")
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        agent, env = load(os.path.join(folder, "main.py"))
        replies = [agent(obs, CFG) for obs in eval(turns)]
        [thread.join(60) for thread in threading.enumerate() if "announce" in thread.name]
    except BaseException as error:
        replies = repr(error)
    sys.stderr.flush()
    os.dup2(kept, 2)
    found.append([replies, open(errors).read()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def played(root, tmp_path_factory) -> dict:
    """(file, its text) -> replies and stderr, of each broken model and each agent.json: in one process, in turn."""
    base, cases = tmp_path_factory.mktemp("cases"), []
    package = unpack(root, base / "agent") / "kaggle_utils"
    for name, text in [*(("agent.json", text) for text in SETTINGS), *(("model/config.json", text) for text in BROKEN)]:
        folder = base / f"case {len(cases)}"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
        (folder / "kaggle_utils").symlink_to(package)
        shutil.copy(base / "agent" / "main.py", folder)
        first = "ANSWER, ANSWER, " if text in BROKEN else ""
        cases.append(((name, text), (str(folder), f"({first}ASK, REFUSED, ANSWER, GUESS, None)")))
    found, _ = run(base / "agent", f"FOLDERS = {[case for _, case in cases]!r}\n{PLAY_ALL}")
    return {key: result for (key, _), result in zip(cases, found, strict=True)}


@pytest.mark.parametrize("config", BROKEN)
def test_a_broken_model_is_reported_and_the_rules_play_on(played, config):
    replies, errors = played["model/config.json", config]
    assert replies[:3] == ["no", "no", "Is it Agent Alpha?"]
    assert replies[3].endswith("?")
    assert errors
    assert errors.count("Traceback") <= 1
    assert len(errors) < 20_000


@pytest.mark.parametrize(("settings", "complaint"), SETTINGS.items())
def test_agent_json_overrides_and_never_breaks(played, settings, complaint):
    replies, errors = played["agent.json", settings]
    check_rules_only(replies)
    assert complaint in errors
    assert bool(errors) == bool(complaint)


def test_the_source_has_none_of_the_known_traps(root):
    source = (root / "submission_builder" / "templates" / "main.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert "__file__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    last = tree.body[-1]
    assert isinstance(last, ast.FunctionDef)
    assert (last.name, [arg.arg for arg in last.args.args]) == ("agent", ["obs", "cfg"])
    from submission_builder.lint import lint_main

    assert lint_main(source) == []


@pytest.mark.parametrize("keyword", ["Sieve", "Red velvet cake"])
def test_wins_whole_games_of_the_real_environment(packed, keyword):
    episode = play_real([packed / "main.py"] * 4, keyword)
    assert episode["statuses"] == ["DONE"] * 4
    assert episode["rewards"][0] == episode["rewards"][3] > 0
    spent = [log["stderr"] for step in episode["logs"][2:] for log in step if log]
    assert set(spent) == {""}

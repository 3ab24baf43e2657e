"""Whole games on the real environment: a good archive passes, and each real fault ends in a sentence, never in a hang.

The archives are small and hold no model, so ``heavy_imports=False`` leaves torch out of the seats' start.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from submission_builder.verify import verify_archive

if importlib.util.find_spec("kaggle_environments") is None:
    pytest.skip("kaggle-environments 1.18.0 is not installed (make test installs it)", allow_module_level=True)

AGENT = """
WORDS = ["apple", "cat", "dog", "tree", "zebra"]

def agent(obs, cfg):
    if obs.turnType == "ask":
        return "Is it a thing?"
    if obs.turnType == "guess":
        return WORDS[len(obs.guesses) % len(WORDS)]
    return "yes"
"""


def fault(statement: str, turn: str = "answer") -> str:
    """The good agent with ``statement`` run first in turns of one type."""
    lines = textwrap.indent(statement, " " * 8)
    return AGENT.replace("obs, cfg):\n", f"obs, cfg):\n    if obs.turnType == {turn!r}:\n{lines}\n")


def pack(folder: Path, main: str = AGENT, **others: str) -> Path:
    """A submission.tar.gz of main.py and further files."""
    content, archive = folder / "content", folder / "submission.tar.gz"
    content.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in {
            "main.py": main,
            **{name.replace("__", "/") + ".py": t for name, t in others.items()},
        }.items():
            path = content / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            tar.add(path, arcname=name)
    return archive


def verify(archive: Path, **options):
    settings = {"keywords": ["zebra"], "progress": False, "probe": False, "heavy_imports": False, "act_timeout": 20.0}
    return verify_archive(archive, work_dir=archive.parent / "work", **{**settings, **options})


def errors(report) -> str:
    return "\n".join(str(problem) for problem in report.problems if problem.severity == "error")


def test_good_archive_plays_and_wins_with_everything_recorded(tmp_path):
    """Rounds, winner, times, memory, probes, isolation and the episode's JSON, from one run."""
    report = verify(pack(tmp_path), keywords=["Dog", "not a word of the list"], probe=True, min_wins=1)
    assert report.ok, report.to_text()
    first, second = report.games
    assert (first.winner, first.rounds, first.rewards, first.category) == ("both", 3, (18, 18, 18, 18), "things")
    assert (second.winner, second.rounds, second.rewards) == ("", 20, (-1, -1, -1, -1))
    assert [seat.turns for seat in second.seats] == [40, 20, 40, 20]
    assert all(seat.first_act > 0 and seat.peak_anonymous > 10e6 for seat in first.seats)
    assert len(report.probes) == 8
    assert all(probe.valid for probe in report.probes)
    assert not replace(report, min_wins=2).ok

    episode = json.loads(Path(first.path).read_text())
    assert Path(first.path).parent == tmp_path / "work" / "games"
    assert episode["steps"][-1][0]["observation"]["keyword"] == "Dog"
    assert episode["rewards"] == [18, 18, 18, 18]
    assert len(episode["logs"]) == len(episode["steps"]) + 1
    assert [len(log) for log in episode["seat_logs"]] == [6, 3, 6, 3]
    assert json.loads(report.to_json())["ok"] is True
    assert "keyword found in 1 of 2 games" in report.to_text()
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["games"], "the unpacked archive is removed"


SEATS = """
import inspect, os, random, socket, sys
import helper
seen = {"file": "__file__" in globals(), "name": __name__, "torch": "torch" in sys.modules,
        "environment": "kaggle_environments" in sys.modules, "cwd": os.listdir("."), "random": random.random(),
        "folder": os.path.dirname(inspect.currentframe().f_code.co_filename), "home": os.listdir(os.environ["HOME"]),
        "secret": os.environ.get("HF_TOKEN"), "pid": os.getpid()}
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
    seen["network"] = "open"
except OSError as error:
    seen["network"] = "closed"
try:
    import submission_builder
    seen["builder"] = "found"
except ModuleNotFoundError as error:
    seen["builder"] = "pack it" if "archive" in str(error) else "absent"
try:
    import decoy
    seen["decoy"] = "found"
except ModuleNotFoundError:
    seen["decoy"] = "absent"

def agent(obs, cfg):
    print(__import__("json").dumps({**seen, "count": helper.bump()}))
    return "zebra" if obs.turnType == "guess" else "Is it a thing? no"
"""
HELPER = "count = 0\ndef bump():\n    global count\n    count += 1\n    return count\n"


@pytest.mark.parametrize("options", [{}, {"start": "spawn", "isolation": "python"}], ids=["auto", "spawn and guard"])
def test_each_seat_is_a_fresh_process_as_on_kaggle(tmp_path, monkeypatch, options):
    """No shared module state, no ``__file__``, another working directory, no network, no tokens, nothing of ours."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "decoy.py").write_text("")  # importable in the notebook, and not packed
    monkeypatch.setattr(sys, "path", ["/kaggle_simulations/agent", str(tmp_path / "notebook"), *sys.path])
    report = verify(pack(tmp_path, SEATS, helper=HELPER), keywords=["zebra"], **options)
    assert report.ok, report.to_text()
    text = Path(report.games[0].path).read_text()
    assert "hf_secret" not in text
    seats = [[json.loads(turn["stdout"]) for turn in log] for log in json.loads(text)["seat_logs"]]
    assert [[turn["count"] for turn in seat] for seat in seats] == [[1, 2], [1], [1, 2], [1]]
    assert len({seat[0]["pid"] for seat in seats}) == 4
    assert len({seat[0]["random"] for seat in seats}) == 4, "forked seats must not share their randomness"
    for seat in seats:
        seen = seat[0]
        assert (seen["file"], seen["name"], seen["environment"]) == (False, "builtins", True)
        assert (seen["cwd"], seen["home"], seen["secret"], seen["torch"]) == ([], [], None, False)
        assert (seen["network"], seen["builder"], seen["decoy"]) == ("closed", "pack it", "absent")
        if report.isolation["files"] == "namespace":
            assert seen["folder"] == "/kaggle_simulations/agent"


# The first seat to ask makes a file beside main.py and asks the keyword; the other team's seat does not.
ONE_ASKS = "import inspect, os\nHERE = os.path.dirname(inspect.currentframe().f_code.co_filename)\n" + fault(
    "try:\n    os.mkdir(HERE + '/taken')\n    return 'The Zebras'\nexcept FileExistsError:\n    pass", "ask"
)
FAULTS = {
    "raises at import": ("import not_there\n" + AGENT, {}, "ModuleNotFoundError: No module named 'not_there'"),
    "raises in act": (fault("raise KeyError('lost')"), {}, r"team 1 answerer: raised KeyError: 'lost' (main.py line"),
    "wrong answer": (fault("return 'maybe'"), {}, "answered 'maybe' in turn 1"),
    "nothing": (fault("return None", "ask"), {}, "team 1 guesser: gave no usable reply in turn 1 (ask)"),
    "not json": (fault("return {1, 2}", "ask"), {}, "team 1 guesser: gave no usable reply in turn 1 (ask)"),
    "ends itself": (fault("import os; os._exit(7)"), {}, "its process ended itself with exit status 7 in turn 1"),
    "segfault": (fault("import ctypes; ctypes.string_at(0)"), {}, "its process was killed by SIGSEGV in turn 1"),
    "hangs": (
        fault("import time; time.sleep(99)", "guess"),
        {"act_timeout": 3.0, "overage": 1.5},
        "timed out in turn 2",
    ),
    "eats memory": (
        fault("global hog; import time; hog = bytearray(b'1') * 500_000_000; time.sleep(9)"),
        {"memory_limit": 300 * 2**20},
        "(limit 0.29 GiB) in turn 1",
    ),
    "question is the keyword": (fault("return 'The Zebras'", "ask"), {}, "asked by one team only, it crashes"),
    "one team asks the keyword": (ONE_ASKS, {}, "crashed: the question 'The Zebras' equals the keyword"),
    "packed without its package": ("import kaggle_utils.chat\n" + AGENT, {}, "pack it with packages=['kaggle_utils']"),
}


@pytest.mark.parametrize(("main", "options", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_ends_in_a_sentence(tmp_path, main, options, message):
    start = time.monotonic()
    report = verify(pack(tmp_path, main), **options)
    assert not report.ok
    assert message in errors(report), report.to_text()
    assert time.monotonic() - start < 60
    assert "NOT OK" in report.to_text()
    assert Path(report.games[0].path).is_file(), "the episode is kept for a look"


def test_lint_alone_fails_an_archive_whose_game_would_run(tmp_path):
    """The helper after ``agent`` is what plays; the report names it although the helper happens to reply."""
    report = verify(
        pack(tmp_path, AGENT + "def helper(obs):\n    return 'zebra' if obs.turnType == 'guess' else 'no'\n")
    )
    assert "calls 'helper' (line 10) instead of 'agent'" in errors(report)


def test_probe_finds_what_self_play_does_not_reach(tmp_path):
    """An agent that only fails on a stranger's questions wins by self-play and still is not ok."""
    report = verify(
        pack(tmp_path, fault("assert obs.questions[-1] == 'Is it a thing?'")), keywords=["apple"], probe=True
    )
    assert report.games[0].won
    assert not report.ok
    assert "probe answerer: answer a free-form question: raised AssertionError" in errors(report)


def test_loading_in_the_background_is_timed(tmp_path):
    """The probe waits until a thread that computes has finished, and says when that was."""
    busy = "import threading, time\ndef load():\n    end = time.time() + 1.2\n    while time.time() < end: pass\n"
    report = verify(
        pack(tmp_path, busy + "threading.Thread(target=load).start()\n" + AGENT), keywords=["apple"], probe=True
    )
    assert report.ok, report.to_text()
    assert report.probes[0].settled > 1.0


def test_files_written_beside_main_are_noticed(tmp_path):
    write = "import inspect, os\nopen(os.path.dirname(inspect.currentframe().f_code.co_filename) + '/state.txt', 'w')\n"
    report = verify(pack(tmp_path, write + AGENT), keywords=["apple"])
    assert "wrote state.txt beside itself" in " ".join(problem.message for problem in report.problems)


def test_broken_archive_is_reported_without_playing(tmp_path):
    archive = pack(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-20])
    report = verify(archive)
    assert (report.ok, report.games) == (False, ())
    assert "cut off" in errors(report)


def test_all_wrong_settings_are_named_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)keyword ' ' is empty.*act_timeout=0.*start='thread'"):
        verify(pack(tmp_path), keywords=[" "], act_timeout=0, start="thread")
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "nothing.tar.gz")


def test_killing_the_caller_leaves_no_process(tmp_path):
    """SIGKILL in mid-game: the seats, which hang, end with the process that asked for them."""
    archive = pack(tmp_path, fault("import time; time.sleep(99)", "ask"))
    options = {"games": 1, "progress": False, "heavy_imports": False, "probe": False, "work_dir": str(tmp_path / "w")}
    code = f"from submission_builder.verify import verify_archive as v; v({str(archive)!r}, **{options!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_for(lambda: len(list(tmp_path.glob("seats-*/seat-*/port"))) == 4)
    pids = using(tmp_path)
    assert len(pids) >= 6  # the caller's match, its fork server, and four seats
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not using(tmp_path))


def using(folder: Path) -> list[int]:
    """Processes whose working directory or command line lies in ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in (path / "cmdline").read_text() or str(folder) in str((path / "cwd").readlink()):
                found.append(int(path.name))
    return found


def wait_for(condition, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def test_the_ready_agent_with_a_broken_model_does_not_pass(tmp_path):
    """It would play on by its rules and win by the handshake: nobody would notice that the weights are of no use."""
    from submission_builder.archive import build_archive
    from submission_builder.plan import make_plan
    from submission_builder.template import template_main

    model = tmp_path / "broken"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "nonsense"}')
    plan = make_plan(
        template_main(),
        include={"model": model},
        packages=["kaggle_utils"],
        output=tmp_path / "s.tar.gz",
        profile="none",
    )
    build_archive(plan, progress=False)
    report = verify(plan.output, keywords=["popcorn"], probe=True)
    assert report.wins == 1 and not report.ok
    assert "plays without its model. MODEL FAILED" in errors(report)


def test_what_the_agent_says_of_its_model_is_reported(tmp_path):
    main = 'import os\nos.write(2, b"MODEL LOADED after 2.5 s\\n")\n' + AGENT
    report = verify(pack(tmp_path, main), keywords=["dog"], probe=True)
    assert (report.probes[0].name, report.probes[0].seconds) == ("load the model", 2.5), report.to_text()

"""The real environment (kaggle-environments 1.18.0) in a process of its own, for tests that hold ours against it.

It is imported with stand-ins for torch, transformers and pandas (it uses none of them without its built-in agents),
which takes a second and never reaches the testing process. The keyword is drawn once at import there, so it is patched.
Run as a script it is that process: it reads a request file and writes a result file, both JSON.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def play_real(main_files, keyword, category="things", alts=(), *, configuration=None, timeout=240) -> dict:
    """Play one game of four main.py files (paths or Python source) and return its episode with "logs".

    The files are loaded as Kaggle loads them, all in one process, without torch, transformers and pandas; the project
    can be imported. ``configuration`` overrides the environment's, for example {"actTimeout": 2}.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for seat, main in enumerate(main_files):
            path = Path(folder, f"seat{seat}", "main.py")
            if "\n" in str(main):
                path.parent.mkdir()
                path.write_text(str(main), encoding="utf-8")
            paths.append(str(path if "\n" in str(main) else Path(main).resolve()))
        game = {"keyword": keyword, "category": category, "alts": list(alts), "configuration": configuration or {}}
        return _ask("play", {**game, "files": paths}, timeout=timeout)


def play_scripts(games: list[dict], *, timeout=240) -> list[dict]:
    """Play scripted games: {"keyword", "category", "alts", "seats": four lists of [kind, value, seconds]}.

    kind is "say" (reply with the value) or "raise"; seconds go onto a fake clock, so that the environment's own time
    rules see them; a script that ends begins again. Each result: {"steps", "seen", "crashed"}.
    """
    return _ask("scripts", games, timeout=timeout)


def match_pairs(pairs: list[tuple[str, str]], *, timeout=120) -> list[list]:
    """Return [compare_words(a, b), normalize(a)] of the environment for every pair."""
    return _ask("match", pairs, timeout=timeout)


def _ask(job: str, data, *, timeout):
    if importlib.util.find_spec("kaggle_environments") is None:
        pytest.skip("kaggle-environments 1.18.0 is not installed (make test installs it)")
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder, "request.json"), Path(folder, "result.json")
        request.write_text(json.dumps([job, data]), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(request), str(result)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode or not result.exists():
            raise RuntimeError(f"the real environment failed ({done.returncode}):\n{done.stderr[-3000:]}")
        return json.loads(result.read_text(encoding="utf-8"))


def _import_environment():
    for name in ("torch", "pandas", "transformers"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["transformers"].T5Tokenizer = sys.modules["transformers"].T5ForConditionalGeneration = object
    import kaggle_environments
    from kaggle_environments import agent
    from kaggle_environments.envs.llm_20_questions import llm_20_questions as module

    return kaggle_environments.make, agent, module


def _patch(module, game) -> None:
    module.keyword, module.category, module.alts = game["keyword"], game["category"], game["alts"]


def _play(game) -> dict:
    make, _, module = _import_environment()
    _patch(module, game)
    environment = make("llm_20_questions", configuration=game["configuration"])
    environment.run(game["files"])
    return {**environment.toJSON(), "logs": environment.logs}


def _play_scripts(games) -> list[dict]:
    make, agent, module = _import_environment()
    _without_repeated_checks()
    clock = [0.0]
    agent.perf_counter = lambda: clock[0]
    return [_play_script(game, make, module, clock) for game in games]


def _without_repeated_checks() -> None:
    """Leave out what the environment does again and again to the same end, nine tenths of a game's time.

    Every action is still validated; the schema is not itself validated each time, nor assembled again.
    """
    from jsonschema.validators import validator_for
    from kaggle_environments import core, utils

    utils.jsonschema = types.SimpleNamespace(
        validate=lambda instance, schema: validator_for(schema)(schema).validate(instance)
    )
    assemble = core.Environment._Environment__state_schema.fget
    core.Environment._Environment__state_schema = property(functools.lru_cache(maxsize=1)(assemble))


def _play_script(game, make, module, clock) -> dict:
    _patch(module, game)
    seen = []

    def seat_agent(seat, script):
        turn = iter(range(10**6))

        def act(observation, configuration):
            seen.append([seat, json.loads(json.dumps(observation))])
            kind, value, seconds = script[next(turn) % len(script)]
            clock[0] += seconds
            if kind == "raise":
                raise RuntimeError(value)
            return value

        return act

    environment = make("llm_20_questions")
    crashed = False
    try:
        environment.run([seat_agent(seat, script) for seat, script in enumerate(game["seats"])])
    except ValueError:
        crashed = True
    return {"steps": environment.steps, "seen": seen, "crashed": crashed}


def _match(pairs) -> list[list]:
    _, _, module = _import_environment()
    return [[module.compare_words(a, b), module.normalize(a)] for a, b in pairs]


if __name__ == "__main__":
    job, data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = {"play": _play, "scripts": _play_scripts, "match": _match}[job](data)
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")

"""An agent for LLM 20 Questions: packed as main.py, with kaggle_utils/ and (if there is one) model/ beside it.

The environment runs this file with exec: __file__ does not exist, the working directory is another one, and the last
callable defined here is the agent. Settings may be overridden by a file agent.json beside it.
"""

import inspect
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

SETTINGS = {
    "model": "model",  # folder of the language model; absent or broken: the agent plays by its rules alone
    "quantization": "none",  # "none" for a model stored in the precision it runs in, else "int8", "nf4" or "fp4"
    "device_map": "auto",
    "dtype": "auto",
    "max_prompt_tokens": 2048,
    "max_new_tokens": 48,  # of a question or a list of guesses
    "threshold": 0.5,  # probability of "yes" from which on the answer is yes
    "act_timeout": 60.0,  # seconds for one turn
}

HERE = Path(inspect.currentframe().f_code.co_filename).absolute().parent
KAGGLE = Path("/kaggle_simulations/agent")
FOLDER = HERE if (HERE / "kaggle_utils").is_dir() or not KAGGLE.is_dir() else KAGGLE
if sys.path[:1] != [str(FOLDER)]:
    sys.path.insert(0, str(FOLDER))  # the environment has it at the end, and pops it there after this file has run

from kaggle_utils.q20.agent import default_robot, make_agent  # noqa: E402


def read_settings():
    """Return SETTINGS with what agent.json overrides."""
    settings = dict(SETTINGS)
    path = FOLDER / "agent.json"
    if path.is_file():
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            unknown = sorted(set(found) - set(SETTINGS))
            if unknown:
                logging.warning("agent.json: unknown settings %s; known are %s", unknown, sorted(SETTINGS))
            settings.update({name: found[name] for name in found if name in SETTINGS})
        except Exception as error:
            logging.warning("agent.json cannot be used, the defaults are: %r", error)
    return settings


def say(text):
    """Write a line past the environment's capture of stdout and stderr; submission-builder verify looks for it."""
    os.write(2, (text.replace("\n", " ")[:600] + "\n").encode("ascii", "backslashreplace"))


def announce(model):
    """Say when the model is there, or why not: without it the agent plays on by its rules, and nobody would notice."""
    start = time.monotonic()
    if model.wait():
        say(f"MODEL LOADED after {time.monotonic() - start:.1f} s")
    else:
        say(f"MODEL FAILED: {type(model.error).__name__}: {model.error}")


def load_model(settings):
    """Start loading the model in the background, one copy per process; None where there is none."""
    folder = FOLDER / settings["model"]
    if not (folder / "config.json").is_file():
        return None
    try:
        from kaggle_utils.inference.background import shared_generator

        names = ("quantization", "device_map", "dtype", "max_prompt_tokens")
        model = shared_generator(folder, **{name: settings[name] for name in names})
        threading.Thread(target=announce, args=(model,), daemon=True).start()
        return model
    except Exception as error:
        say(f"MODEL FAILED: {error!r}")
        return None


def build():
    """Return the function that plays; bad settings give way to the defaults."""
    settings = read_settings()
    try:
        robot = default_robot(
            load_model(settings), max_new_tokens=settings["max_new_tokens"], threshold=settings["threshold"]
        )
        return make_agent(robot, act_timeout=settings["act_timeout"])
    except Exception as error:
        logging.warning("the settings cannot be used, playing by rules: %r", error)
        return make_agent()


PLAY = build()


def agent(obs, cfg):
    """Reply to one turn: the environment calls the last callable of this file, so nothing may follow."""
    return PLAY(obs, cfg)

"""Every trap of Kaggle's loader that costs submissions is named by the linter; ordinary agents pass."""

from __future__ import annotations

import ast
import re
import sys

import pytest

from submission_builder.lint import lint_main
from submission_builder.linting.namespace import bindings

AGENT = "def agent(obs, cfg):\n    return 'no'\n"

GOOD = {
    "plain": AGENT,
    "one argument": "def agent(obs):\n    return 'no'\n",
    "no arguments": "def agent():\n    return 'no'\n",
    "lambda": "agent = lambda obs, cfg: 'no'\n",
    "another name": "import os\ndef helper(): pass\ndef play(obs, cfg): return helper()\n",
    "helpers above": "from os.path import join\nclass Robot: pass\ndef helper(): pass\nrobot = Robot()\n" + AGENT,
    "constants after": AGENT + "LIMIT = 3\nimport os\nfrom os import path\nnames = ['a']\n",
    "made by a factory": "def make():\n    def inner(obs, cfg): return 'no'\n    return inner\nagent = make()\n",
    "agent made last again": AGENT + "def helper(): pass\n_agent = agent\ndel agent\nagent = _agent\n",
    "guarded __file__": "try:\n    here = __file__\nexcept NameError:\n    here = '/kaggle_simulations/agent'\n"
    + AGENT,
    "asked for __file__": "here = __file__ if '__file__' in globals() else '.'\n" + AGENT,
    "alternatives": "try:\n    import json\n    def f(): return 1\nexcept ImportError:\n    def f(): return 2\n"
    + AGENT,
    "late import with the path kept": (
        "import sys\nsys.path.insert(0, '/kaggle_simulations/agent')\ndef agent(obs, cfg):\n    import helper\n"
    ),
    "late import of an installed module": "def agent(obs, cfg):\n    import json\n    return 'no'\n",
    "a docstring may name a path": '"""Weights come from /kaggle/input."""\n' + AGENT,
    "local decorator with named arguments": (
        "def safe(f):\n    def inner(obs, cfg):\n        return f(obs, cfg)\n    return inner\n@safe\n" + AGENT
    ),
}

BAD = {
    "helper after agent": (AGENT + "def helper(x): return x\n", "error", 3, "calls 'helper' .* instead of 'agent'"),
    "class after agent": (AGENT + "class Robot: pass\n", "error", 3, "calls 'Robot'"),
    "function imported after agent": (AGENT + "from os.path import join\n", "error", 3, "calls 'join'"),
    "third-party name after agent": (AGENT + "from torch.nn import Linear\n", "warning", 3, "if it is callable"),
    "helper between two agents": (AGENT + "def helper(): pass\n" + AGENT, "error", 3, "calls 'helper'"),
    "agent twice": (AGENT + AGENT.replace("no", "yes"), "error", 3, "defined more than once: agent"),
    "appended again": (
        "def f(): return 1\n" + AGENT + "del f\n" + "def f(): return 1\n" + AGENT,
        "error",
        6,
        "writefile",
    ),
    "no function": ("x = 1\nimport os\n", "error", None, "no function"),
    "a class": ("class agent:\n    def __call__(self, obs): return 'no'\n", "error", 1, "is a class"),
    "an instance": ("class A:\n    def __call__(self, o): return 'no'\nagent = A()\n", "error", 3, "no __code__"),
    "a partial": (
        "from functools import partial\ndef f(m, o, c): ...\nagent = partial(f, 1)\n",
        "error",
        3,
        "no __code__",
    ),
    "no_grad": ("import torch\n@torch.no_grad()\n" + AGENT, "error", 3, "without arguments"),
    "star wrapper": (
        "def safe(f):\n    def w(*a): return f(*a)\n    return w\n@safe\n" + AGENT,
        "error",
        5,
        "without arg",
    ),
    "star arguments": ("def agent(*args): return 'no'\n", "error", 1, "only .args"),
    "three arguments": ("def agent(a, b, c): return 'no'\n", "error", 1, "takes 3 arguments"),
    "async": ("async def agent(obs, cfg): return 'no'\n", "error", 1, "coroutine"),
    "generator": ("def agent(obs, cfg):\n    yield 'no'\n", "error", 1, "generator"),
    "__file__": ("import os\nhere = os.path.dirname(__file__)\n" + AGENT, "error", 2, "__file__"),
    "main guard": (AGENT + "if __name__ == '__main__':\n    print(agent(0, 0))\n", "warning", 3, "never true"),
    "late sibling": ("def agent(obs, cfg):\n    from helper import f\n    return f()\n", "error", 2, "off sys.path"),
    "relative import": ("from . import helper\n" + AGENT, "error", 1, "relative import"),
    "path appended": ("import sys\nsys.path.append('lib')\n" + AGENT, "warning", 2, "undone"),
    "input path": ("M = '/kaggle/input/gemma/2b'\n" + AGENT, "warning", 1, "/kaggle/input does not exist"),
    "pip at load": ("import os\nos.system('pip install x')\n" + AGENT, "error", 2, "pip install"),
    "pip by subprocess": ("import subprocess as s\ns.check_call(['pip', 'install', 'x'])\n" + AGENT, "error", 2, "pip"),
    "pip magic": ("!pip install x\n" + AGENT, "error", 1, "notebook syntax"),
    "cell magic": ("%%writefile -a main.py\n" + AGENT, "error", 1, "notebook syntax"),
    "syntax error": ("def agent(obs, cfg)\n    return 1\n", "error", 1, "does not parse"),
    "null byte": ("x = 1\0\n", "error", None, "does not parse"),
    "download": ("import huggingface_hub as h\nh.snapshot_download('a/b')\n" + AGENT, "warning", 2, "no network"),
    "hub name": ("def agent(o):\n    return AutoModel.from_pretrained('google/gemma')\n", "warning", 2, "on the hub"),
    "relative open": ("words = open('words.txt').read()\n" + AGENT, "warning", 1, "working directory"),
    "alarm": ("import signal\ndef agent(obs):\n    signal.alarm(50)\n", "warning", 3, "worker thread"),
    "grad mode": ("import torch\ntorch.set_grad_enabled(False)\n" + AGENT, "warning", 2, "thread"),
}


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD)
def test_an_agent_that_works_is_not_accused(source):
    assert lint_main(source, siblings={"helper"}) == []


@pytest.mark.parametrize(("source", "severity", "line", "message"), BAD.values(), ids=BAD)
def test_trap_is_named_with_line_and_remedy(source, severity, line, message):
    found = [p for p in lint_main(source, siblings={"helper"}) if re.search(message, p.message)]
    assert [(p.severity, p.line) for p in found] == [(severity, line)]
    assert found[0].fix


HARMLESS = ("helper after agent", "class after agent", "function imported after agent", "helper between two agents",
            "agent twice", "appended again", "an instance", "a partial", "star wrapper", "main guard")  # fmt: skip


@pytest.mark.parametrize("source", [*GOOD.values(), *(BAD[name][0] for name in HARMLESS)])
def test_static_order_agrees_with_exec(source, monkeypatch):
    """The names that the linter predicts come in the order in which exec leaves them."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # some of them change it
    namespace: dict = {}
    exec(compile(source, "main.py", "exec"), namespace)
    real = [name for name in namespace if not name.startswith("__")]
    predicted = [b.name for b in bindings(ast.parse(source))]
    assert [n for n in predicted if n in real] == [n for n in real if n in predicted]
    assert set(real) <= set(predicted)


def test_linting_runs_nothing():
    """main.py is text to the linter: neither its code nor its third-party imports are executed."""
    assert lint_main("raise SystemExit\nfrom this_module_is_not_there import f\n" + AGENT) == []

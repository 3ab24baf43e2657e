"""Folders to publish, and the official client's stand-in."""

from __future__ import annotations

import os

import pytest
from fake_kaggle import FakeKaggle


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> FakeKaggle:
    fake = FakeKaggle(tmp_path / "kaggle-home")
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    return fake


@pytest.fixture
def weights(tmp_path):
    """Two files at the top, one large enough to be hard linked, and one below."""
    folder = tmp_path / "weights"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\1" * (1 << 20))
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    return folder

"""A generator around the tiny random Llama; it is stateless between calls, so all tests of a session share it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny_generator(tiny_llama):
    """An HFGenerator on the CPU."""
    from kaggle_utils.inference.generation import HFGenerator

    return HFGenerator.from_folder(tiny_llama, device_map="cpu", batch_size=3)

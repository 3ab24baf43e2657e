"""require() says which extra is missing, and never hides a package that is there but broken."""

from __future__ import annotations

import pytest

from kaggle_utils._optional import require


def test_absent_package_names_extra_and_offline_command():
    with pytest.raises(ModuleNotFoundError, match=r"kaggle-notebook-utils\[llm\].*--no-index") as caught:
        require("no_such_package_here.sub", extra="llm")
    assert caught.value.name == "no_such_package_here"


def test_broken_package_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import a_dependency_that_is_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_absent") as caught:
        require("broken_inside", extra="llm")
    assert "kaggle-notebook-utils" not in str(caught.value)

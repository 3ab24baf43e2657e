"""Versions are compared as pip compares them, as far as this package's own requirements go."""

from __future__ import annotations

import configparser

import pytest

from kaggle_utils.doctor.requirement import declared, fits, installed_version, split_requirement


def requirements(root):
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    return [line.strip() for text in lines for line in text.splitlines() if line.strip() and "%(" not in line]


def test_agrees_with_packaging_on_everything_we_require(root):
    packaging = pytest.importorskip("packaging.requirements")
    versions = ["0.4", "1.0.0", "1.9", "2.6", "2.10.0", "4.41.2", "4.57", "5.0.0", "5.23.1", "6", "2024.5.10"]
    for text in requirements(root):
        ours, theirs = split_requirement(text), packaging.Requirement(text)
        assert ours[0] == theirs.name
        for version in versions:
            assert fits(version, ours[1]) == theirs.specifier.contains(version), (text, version)


def test_metadata_declares_what_setup_cfg_says(root):
    if installed_version("kaggle-notebook-utils") is None:
        pytest.skip("the package is not installed here")
    names = {split_requirement(text)[0].casefold() for text in requirements(root)}
    assert {"torch", "numpy", "bitsandbytes"} <= names
    assert {"torch", "numpy", "bitsandbytes"} <= {name.casefold() for name in declared()}


@pytest.mark.parametrize("text", [">=abc", "4.57", "===1"])
def test_what_cannot_be_read_is_named(text):
    with pytest.raises(ValueError, match="cannot be read"):
        fits("1.0", text)

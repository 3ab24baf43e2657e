"""A model's page and its variation, in one folder."""

import json
from dataclasses import replace

import pytest

from submission_builder.publishing.metadata_error import MetadataError
from submission_builder.publishing.models import ModelPage, make_model

PAGE = ModelPage("SmolLM2, quantised", "ada", "135m-nf4", "Apache 2.0")


def test_both_metadata_files(weights, tmp_path):
    made = make_model(weights, PAGE, out=tmp_path / "out", folder_mode="tar", message="epoch 2", progress=False)
    model = json.loads((tmp_path / "out" / "model-metadata.json").read_text())
    instance = json.loads((tmp_path / "out" / "model-instance-metadata.json").read_text())
    assert (model["ownerSlug"], model["slug"], model["isPrivate"]) == ("ada", "smollm2-quantised", True)
    assert (instance["modelSlug"], instance["instanceSlug"]) == ("smollm2-quantised", "135m-nf4")
    assert (instance["framework"], instance["licenseName"]) == ("transformers", "Apache 2.0")
    assert made.reference == "ada/smollm2-quantised/transformers/135m-nf4"
    assert made.linked == 1 << 20
    assert str(made.commands[2]).endswith("-r tar -n 'epoch 2'")


def test_all_problems_at_once(weights, tmp_path):
    page = replace(PAGE, title="x", owner="A", variation="A_b", framework="torch", licence="Gemma")
    with pytest.raises(MetadataError) as caught:
        make_model(weights, page, out=tmp_path / "out", message="")
    said = str(caught.value)
    for words in ("title 'x'", "owner 'A'", "slug 'x'", "variation 'A_b'", "framework 'torch'", "licence 'Gemma'",
                  "submission-builder dataset", "message"):  # fmt: skip
        assert words in said, words
    assert not (tmp_path / "out").exists()

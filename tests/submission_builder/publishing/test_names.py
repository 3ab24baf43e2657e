"""Titles, slugs and sources that Kaggle or its client would refuse."""

import pytest

from submission_builder.publishing.licences import DATASET_LICENCES, FRAMEWORKS, MODEL_LICENCES, named_problems
from submission_builder.publishing.names import (
    dataset_source_problems,
    kernel_source_problems,
    length_problems,
    model_source_problems,
    owner_problems,
    slug_problems,
    slugify,
)


@pytest.mark.parametrize(
    ("title", "slug"),
    [("My Awesome Dataset", "my-awesome-dataset"), ("  Étude -- n. 1 ", "etude-n-1"), ("日本語", ""), ("a_b", "a-b")],
)
def test_slug_of_a_title(title, slug):
    assert slugify(title) == slug


@pytest.mark.parametrize(
    "slug", ["-abcdef", "abcdef-", "abc--def", "Abcdef", "abc_def", "abcde", "a" * 51, "日本語日本語", ""]
)
def test_wrong_slugs(slug):
    assert slug_problems(slug, lowest=6)


@pytest.mark.parametrize("slug", ["abcdef", "a1-b2-c3", "a" * 50])
def test_right_slugs(slug):
    assert slug_problems(slug, lowest=6) == []


@pytest.mark.parametrize("title", ["12345", "1" * 51, " leading", "line\nbreak", ""])
def test_wrong_titles(title):
    assert len(length_problems("title", title, lowest=6, highest=50)) == 1


@pytest.mark.parametrize("owner", ["ada", "ada-l", "ada_l", "a1"])
def test_right_owners(owner):
    assert owner_problems(owner) == []


@pytest.mark.parametrize("owner", ["", "Ada", "ada/x", "ada-", "@ada", "{owner}"])
def test_wrong_owners(owner):
    assert owner_problems(owner)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (dataset_source_problems, ["ada/wheels", "ada/wheels/3"],
         ["wheels", "ada/", "a/b/c/d", "https://kaggle.com/ada/wheels", "{owner}/wheels", "ada/my wheels"]),
        (kernel_source_problems, ["ada/notebook"], ["ada/eda", "notebook"]),
        (model_source_problems, ["google/gemma-2/transformers/gemma-2-2b-it/2"],
         ["google/gemma-2", "google/gemma-2/transformers/gemma-2-2b-it", "google/gemma-2/transformers/it/latest",
          "google/gemma-2/transformers/it/0"]),
    ],
)  # fmt: skip
def test_sources(check, right, wrong):
    assert [source for source in right if check(source)] == []
    assert [source for source in wrong if not check(source)] == []


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [("Apache-2.0", DATASET_LICENCES, "apache-2.0"), ("apache 2.0", MODEL_LICENCES, "Apache 2.0"),
     ("pytorch", FRAMEWORKS, "pyTorch"), ("CC-BY-SA", DATASET_LICENCES, "CC-BY-SA-4.0")],
)  # fmt: skip
def test_the_nearest_name_is_offered(name, known, near):
    (problem,) = named_problems("licence", name, known)
    assert near in problem.split("nearest: ")[1]
    assert named_problems("licence", near, known) == []

"""Create or version, failures that the client hides behind status 0, and going on afterwards."""

import json

import pytest

from submission_builder.publishing.client import find_client
from submission_builder.publishing.dataset import make_dataset
from submission_builder.publishing.kernels import make_kernels
from submission_builder.publishing.models import ModelPage, make_model
from submission_builder.publishing.upload import UploadError, upload_dataset, upload_kernels, upload_model

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def dataset(weights, tmp_path):
    return make_dataset(
        weights, title="Judge weights", owner="ada", out=tmp_path / "out", message="two", progress=False
    )


def test_created_first_then_a_version(kaggle, dataset):
    assert "is being created" in upload_dataset(dataset, find_client())
    assert upload_dataset(dataset, find_client()).startswith("Dataset version is being created")
    sent = ["config.json", "model.safetensors", "tokenizer.zip"]
    assert kaggle.state["datasets"] == {"ada/judge-weights": [sent, sent]}, "also the sub-folder, both times"
    assert [call[:2] for call in kaggle.calls] == [
        ["datasets", "status"], ["datasets", "create"], ["datasets", "status"], ["datasets", "version"],
    ]  # fmt: skip
    assert kaggle.calls[3][-2:] == ["-m", "two"]


def test_public_only_where_it_is_made(kaggle, dataset):
    upload_dataset(dataset, find_client(), public=True)
    upload_dataset(dataset, find_client(), public=True)
    assert "-u" in kaggle.calls[1]
    assert "-u" not in kaggle.calls[3]


@pytest.mark.parametrize(
    ("how", "before", "step"),
    [("create", {"ada/judge-weights": []}, "--as version"), ("version", {}, "--as create")],
)
def test_a_refusal_with_status_zero_is_a_failure(kaggle, dataset, how, before, step):
    kaggle.write(datasets=before)
    with pytest.raises(UploadError, match=step):
        upload_dataset(dataset, find_client(), how=how)
    assert len(kaggle.calls) == 1, "with --as nothing is asked first"


@pytest.mark.parametrize(
    ("sentence", "status", "step"),
    [
        ("401 Client Error: Unauthorized for url", 1, "kaggle auth login"),
        ("Authentication required to call the Kaggle API.", 1, "kaggle auth login"),
        ("403 - Forbidden - Permission 'datasets.update' was denied", 1, "--owner"),
        ("429 Client Error: Too Many Requests", 1, "pause"),
        ("HTTPSConnectionPool: Max retries exceeded (Failed to resolve 'api')", 1, "same command again"),
        ("Upload unsuccessful: model.safetensors", 1, "same command again"),
        ("Dataset creation error: You are not allowed to create a dataset as this owner.", 0, "--owner"),
        ("kaggle: error: unrecognized arguments: --no-run", 2, "pip install --upgrade kaggle"),
        ("", 0, "did not say that it went up"),
    ],
)
def test_failures_say_what_to_do_and_leave_the_folder(kaggle, dataset, tmp_path, sentence, status, step):
    before = sorted(path.name for path in dataset.path.rglob("*"))
    kaggle.write(fail={"datasets create": (f"key={SECRET}\n{sentence}", status)})
    with pytest.raises(UploadError) as caught:
        upload_dataset(dataset, find_client(), how="create")
    assert step in str(caught.value).split("next: ")[1]
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value) + str(caught.value.reply)
    assert sorted(path.name for path in dataset.path.rglob("*")) == before
    kaggle.write(fail={})
    assert "is being created" in upload_dataset(dataset, find_client(), how="create"), "the same call goes on"


def test_of_a_traceback_the_error_is_shown(kaggle, dataset):
    words = 'Traceback (most recent call last):\n  File "x.py", line 1\n    call()\nHTTPError: 500 Server Error'
    kaggle.write(fail={"datasets create": (words, 1)})
    with pytest.raises(UploadError) as caught:
        upload_dataset(dataset, find_client(), how="create")
    assert "| HTTPError: 500 Server Error" in str(caught.value)
    assert "line 1" not in str(caught.value)


@pytest.mark.parametrize(
    "sentence", ["401 Unauthorized", "503 Server Error: Service Unavailable", "Max retries exceeded: connection"]
)
def test_not_knowing_is_not_taken_for_absent(kaggle, dataset, sentence):
    kaggle.write(fail={"datasets status": (sentence, 1)})
    with pytest.raises(UploadError, match="asking whether"):
        upload_dataset(dataset, find_client())
    assert len(kaggle.calls) == 1


@pytest.mark.parametrize("sentence", ["403 Client Error: Forbidden for url: x", "404 - Not Found"])
def test_another_word_for_absent(kaggle, dataset, sentence):
    kaggle.write(fail={"datasets status": (sentence, 1)})
    upload_dataset(dataset, find_client())
    assert kaggle.calls[1][1] == "create"


def test_a_version_in_the_making_is_waited_for(kaggle, dataset):
    kaggle.write(fail={"datasets status": ("blobs_received", 0)})
    with pytest.raises(UploadError, match="still being processed"):
        upload_dataset(dataset, find_client())


def test_sub_folders_that_were_passed_over_are_a_failure(kaggle, dataset):
    from dataclasses import replace

    bare = tuple(
        replace(c, arguments=tuple(a for a in c.arguments if a not in ("-r", "zip"))) for c in dataset.commands
    )
    with pytest.raises(UploadError, match="Skipping folder: tokenizer"):
        upload_dataset(replace(dataset, commands=bare), find_client())


@pytest.fixture
def kernels(tmp_path):
    names = ("first.ipynb", "second.ipynb", "third.ipynb")
    for name in names:
        (tmp_path / name).write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    facts = {name: {"title": f"The {name[:-6]} one", "datasets": ["{owner}/data"]} for name in names}
    (tmp_path / "kernels.json").write_text(json.dumps({"notebooks": facts}))

    def make(**options):
        return make_kernels([tmp_path / name for name in names], owner="ada", out=tmp_path / "kernels", **options)

    return make


def test_notebooks_after_a_failure_and_after_a_change(kaggle, kernels, tmp_path):
    broken = kernels()
    (broken[1].path / "second.ipynb").write_text("")  # the fake client fails on it, as Kaggle would
    with pytest.raises(UploadError, match=r"ada/the-second-one \(up: ada/the-first-one; not yet: ada/the-third-one\)"):
        upload_kernels(broken, find_client())
    said = upload_kernels(kernels(), find_client())
    assert said["ada/the-first-one"] == "unchanged", "a push runs a notebook: not twice"
    assert kaggle.state["kernels"] == ["ada/the-first-one", "ada/the-second-one", "ada/the-third-one"]
    (tmp_path / "third.ipynb").write_text('{"cells": [], "metadata": {"a": 1}, "nbformat": 4, "nbformat_minor": 5}')
    upload_kernels(kernels(), find_client())
    assert kaggle.state["kernels"][3:] == ["ada/the-third-one"]
    upload_kernels(kernels(run=False)[:1], find_client())
    assert kaggle.calls[-1][-1] == "--no-run"
    assert upload_kernels(kernels(run=False)[:1], find_client(), again=True)["ada/the-first-one"] != "unchanged"


def test_a_source_that_kaggle_does_not_know(kaggle, kernels):
    kaggle.write(missing=["ada/data"])
    with pytest.raises(UploadError, match="pushed without these"):
        upload_kernels(kernels()[:1], find_client())
    kaggle.write(missing=[])
    assert "successfully pushed" in upload_kernels(kernels()[:1], find_client())["ada/the-first-one"]


def test_a_model_is_made_once(kaggle, weights, tmp_path):
    page = ModelPage("SmolLM2, quantised", "ada", "135m-nf4", "Apache 2.0")
    made = make_model(weights, page, out=tmp_path / "out", progress=False)
    kaggle.write(fail={"models variations create": ("Model instance creation error: no", 0)})
    with pytest.raises(UploadError, match="creation error"):
        upload_model(made, find_client())
    kaggle.write(fail={})
    assert "instance was created" in upload_model(made, find_client())
    assert "version was created" in upload_model(made, find_client())
    sent = ["config.json", "model.safetensors", "tokenizer.zip"]
    assert kaggle.state["models"] == {"ada/smollm2-quantised": {"transformers/135m-nf4": [sent, sent]}}
    assert [call[:2] for call in kaggle.calls].count(["models", "create"]) == 1

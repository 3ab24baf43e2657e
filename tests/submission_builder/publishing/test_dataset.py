"""A dataset folder: checked as a whole before a byte is written, then whole or not there."""

import errno
import fcntl
import json
import os

import pytest

from submission_builder.publishing import folder_writer, upload_files
from submission_builder.publishing.dataset import make_dataset
from submission_builder.publishing.metadata_error import MetadataError

NAMED = {"title": "Judge weights", "owner": "ada", "licence": "apache-2.0", "progress": False}


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_folder_holds_files_and_metadata(weights, tmp_path):
    made = make_dataset(
        weights, **NAMED, subtitle="Two classifiers for the LMSYS data", keywords=["nlp"], out=tmp_path / "out"
    )
    assert tree(tmp_path / "out") == [
        "config.json",
        "dataset-metadata.json",
        "model.safetensors",
        "tokenizer/tokenizer.json",
    ]
    assert json.loads((tmp_path / "out" / "dataset-metadata.json").read_text()) == {
        "title": "Judge weights", "id": "ada/judge-weights", "licenses": [{"name": "apache-2.0"}],
        "subtitle": "Two classifiers for the LMSYS data", "keywords": ["nlp"],
    }  # fmt: skip
    assert made.reference == "ada/judge-weights"
    assert [str(command).split(" -p ")[0] for command in made.commands] == [
        "kaggle datasets create",
        "kaggle datasets version",
    ]
    assert all("-r zip" in str(command) for command in made.commands), "sub-folders go up only with -r"


def test_all_problems_at_once_and_nothing_written(weights, tmp_path):
    with pytest.raises(MetadataError) as caught:
        make_dataset(weights, title="abc", owner="Ada!", slug="X", licence="MIT", subtitle="short", message=" ",
                     keywords=[""], out=tmp_path / "no" / "such")  # fmt: skip
    said = str(caught.value)
    for word in ("title", "owner", "slug", "licence", "subtitle", "message", "keyword", "does not exist"):
        assert word in said, word
    assert len(caught.value.problems) == 9
    assert not (tmp_path / "no").exists()


def test_large_files_are_linked_and_small_ones_are_not(weights, tmp_path):
    made = make_dataset(weights, **NAMED, out=tmp_path / "out")
    assert (made.linked, made.copied) == (1 << 20, 4)
    assert (tmp_path / "out" / "model.safetensors").samefile(weights / "model.safetensors")
    assert not (tmp_path / "out" / "config.json").samefile(weights / "config.json")


def test_a_link_in_the_source_becomes_the_file_itself(weights, tmp_path):
    """The client's tar would hold a link to a place that Kaggle does not have."""
    (weights / "model.safetensors").rename(tmp_path / "blob")
    (weights / "model.safetensors").symlink_to(tmp_path / "blob")
    make_dataset(weights, **NAMED, out=tmp_path / "out")
    written = tmp_path / "out" / "model.safetensors"
    assert written.samefile(tmp_path / "blob")
    assert not written.is_symlink()


def test_on_another_disk_files_are_copied_once_with_their_times(weights, tmp_path, monkeypatch):
    link = os.link

    def other_disk(source, target):
        if str(source).startswith(str(weights)):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", other_disk)
    out = tmp_path / "out"
    assert make_dataset(weights, **NAMED, out=out).copied > 1 << 20
    first = (out / "model.safetensors").stat()
    assert first.st_mtime_ns == (weights / "model.safetensors").stat().st_mtime_ns, "the client resumes by it"
    assert make_dataset(weights, **NAMED, out=out).linked == 1 << 20
    assert (out / "model.safetensors").stat().st_ino == first.st_ino
    (weights / "model.safetensors").write_bytes(b"\2" * (1 << 20))
    make_dataset(weights, **NAMED, out=out)
    assert (out / "model.safetensors").read_bytes()[:1] == b"\2", "a changed file is not taken from the old folder"


def test_a_failure_leaves_the_old_folder(weights, tmp_path, monkeypatch):
    out = tmp_path / "out"
    make_dataset(weights, **NAMED, out=out)
    before = {name: (out / name).stat().st_ino for name in tree(out)}

    def full(source, target, bar):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(folder_writer, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        make_dataset(weights, **NAMED, out=out)
    assert {name: (out / name).stat().st_ino for name in tree(out)} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "weights"]


def test_what_a_killed_run_left_is_no_part_of_the_next(weights, tmp_path):
    left = tmp_path / "out.partial" / "half"
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    make_dataset(weights, **NAMED, out=tmp_path / "out")
    assert not (tmp_path / "out" / "half").exists()
    assert not (tmp_path / "out.partial").exists()


def test_two_runs_over_one_folder(weights, tmp_path):
    (tmp_path / "out.partial").mkdir()
    other = os.open(tmp_path / "out.partial", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(BlockingIOError, match="another run is writing"):
            make_dataset(weights, **NAMED, out=tmp_path / "out")
        assert (tmp_path / "out.partial").is_dir(), "the other's work was taken away"
    finally:
        os.close(other)


@pytest.mark.parametrize(
    ("where", "why"),
    [("weights/out", "lie in each other"), (".", "lie in each other"), ("weights", "lie in each other"),
     ("full", "other things"), ("file", "is a file")],
)  # fmt: skip
def test_places_that_are_refused(weights, tmp_path, where, why):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MetadataError, match=why):
        make_dataset(weights, **NAMED, out=tmp_path / where)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert (weights / "config.json").exists()


def test_sub_folders_flat_or_left_out(weights, tmp_path):
    made = make_dataset(weights, **NAMED, folder_mode="flatten", out=tmp_path / "out")
    assert "tokenizer__tokenizer.json" in tree(tmp_path / "out")
    assert "-r" not in made.commands[0].arguments
    made = make_dataset(weights, **NAMED, folder_mode="skip", out=tmp_path / "out")
    assert tree(tmp_path / "out") == ["config.json", "dataset-metadata.json", "model.safetensors"]
    assert "1 files (2 B) below tokenizer are left out" in made.to_text()
    (weights / "tokenizer__tokenizer.json").write_text("{}")
    with pytest.raises(MetadataError, match="would both be called"):
        make_dataset(weights, **NAMED, folder_mode="flatten", out=tmp_path / "out")


def test_limits_and_clashes(weights, monkeypatch):
    monkeypatch.setattr(upload_files, "MAX_BYTES", 10**6)
    (weights / "tokenizer.zip").write_bytes(b"PK")
    for i in range(48):
        (weights / f"part-{i}.txt").write_text("x")
    found = upload_files.find_files(weights)
    said = "\n".join(found.problems)
    assert "the files take 1.05 MB, over Kaggle's limit of 1.00 MB" in said
    assert "51 files and 1 folders lie at the top, Kaggle takes 50" in said
    assert "tokenizer.zip is also the name under which the folder" in said
    assert any("Kaggle unpacks archives: tokenizer.zip" in warning for warning in found.warnings)


@pytest.mark.parametrize("old", ["dataset-metadata.json", "datapackage.json"])
def test_old_metadata_is_not_sent(weights, tmp_path, old):
    (weights / old).write_text('{"id": "somebody/else"}')
    made = make_dataset(weights, **NAMED, out=tmp_path / "out")
    assert made.files == 3
    assert "somebody" not in (tmp_path / "out" / "dataset-metadata.json").read_text()


def test_no_folder_or_no_file(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetadataError, match="does not exist"):
        make_dataset(tmp_path / "gone", **NAMED, out=tmp_path / "out")
    with pytest.raises(MetadataError, match="holds no files"):
        make_dataset(tmp_path / "empty", **NAMED, out=tmp_path / "out")

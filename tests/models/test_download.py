"""download_model against a hub on this machine: what arrives, what does not, and what every failure says."""

from __future__ import annotations

import hashlib
import json
import socket
from types import SimpleNamespace

import pytest

pytest.importorskip("huggingface_hub")

from kaggle_utils import environment
from kaggle_utils.models import download
from kaggle_utils.models.download import DownloadError, download_model, wanted_files

REPO = "maker/model-1b"
WEIGHTS = bytes(range(256)) * 1_000
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"tokens": 1}',
    "tokenizer_config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same again" * 100,
    "consolidated.safetensors": b"and again" * 100,
    "model.Q4_K_M.gguf": b"and again" * 100,
    "original/consolidated.00.pth": b"and again" * 100,
    "onnx/model.onnx": b"and again" * 100,
    "modeling_custom.py": b"raise SystemExit",
    "README.md": b"# Model",
    "LICENSE": b"terms",
}
WANTED = ["LICENSE", "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Scratch and working folders of the test's own; no token, no cache of this machine."""
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", str(tmp_path / "working"))
    (tmp_path / "working").mkdir()
    monkeypatch.setattr(download, "_PAUSE", 0.01)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repo(hub):
    hub.repos[REPO] = dict(FILES)
    return hub


def test_only_what_is_wanted_arrives_whole_in_scratch_space(repo, tmp_path):
    folder = download_model(REPO, endpoint=repo.url)
    assert folder == tmp_path / "scratch" / "models" / "maker--model-1b"
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert sorted(found.keys() - {".download.json"}) == WANTED
    for name in WANTED:
        assert hashlib.sha256(found[name]).digest() == hashlib.sha256(FILES[name]).digest(), name
    asked = {path.rsplit("/resolve/")[-1].partition("/")[2] for _, path, _ in repo.requests if "/resolve/" in path}
    assert asked <= set(WANTED), "files that are not wanted were asked for"


def test_a_cut_connection_is_resumed_where_it_stopped(repo, monkeypatch):
    """The hub's client keeps what came in whole chunks; chunks of 10 MiB would make this test slow."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    weights = repo.repos[REPO]["model.safetensors"] = bytes(range(256)) * 4_000
    repo.cut_once.add("model.safetensors")
    folder = download_model(REPO, endpoint=repo.url)
    assert (folder / "model.safetensors").read_bytes() == weights
    assert not repo.cut_once, "the connection was never cut"
    first, *later = repo.gets("model.safetensors")
    assert first is None and len(later) == 1 and later[0] is not None
    assert int(later[0].removeprefix("bytes=").rstrip("-")) >= len(weights) // 2 - 2**16
    assert repo.sent["model.safetensors"] <= len(weights) + 2**16, "more than a chunk was sent twice"


def test_a_second_call_transfers_nothing_and_works_offline(repo):
    folder = download_model(REPO, endpoint=repo.url)
    repo.sent.clear()
    assert download_model(REPO, endpoint=repo.url) == folder
    assert repo.sent == {}
    assert download_model(REPO, endpoint=f"http://127.0.0.1:{_closed_port()}") == folder


def test_after_an_interruption_only_the_missing_files_are_fetched(repo, monkeypatch):
    folder = download_model(REPO, endpoint=repo.url)
    (folder / "model.safetensors").unlink()
    (folder / ".download.json").unlink()
    repo.sent.clear()
    download_model(REPO, endpoint=repo.url)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sum(repo.sent.values()) <= len(WEIGHTS) + sum(len(FILES[n]) for n in WANTED if n != "model.safetensors")


def test_a_branch_that_moved_is_fetched_again(repo):
    folder = download_model(REPO, endpoint=repo.url)
    repo.repos[REPO]["config.json"] = b'{"new": 1}'
    assert download_model(REPO, endpoint=repo.url) == folder
    assert (folder / "config.json").read_bytes() == b'{"new": 1}'
    commit = repo.commit(REPO)
    assert json.loads((folder / ".download.json").read_text())["commit"] == commit
    pinned = download_model(REPO, revision=commit, endpoint=repo.url)
    assert pinned.name == f"maker--model-1b--{commit}"


def test_a_disk_that_is_full_is_not_tried_again(repo, monkeypatch):
    import errno

    import huggingface_hub

    calls = []

    def full(*args, **kwargs):
        calls.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(DownloadError, match="No space left"):
        download_model(REPO, endpoint=repo.url)
    assert calls == [1]


def test_the_working_folder_is_refused_before_any_request(repo, tmp_path):
    with pytest.raises(ValueError, match=r"saved as the notebook's output"):
        download_model(REPO, target=tmp_path / "working" / "model", endpoint=repo.url)
    assert repo.requests == []


def test_too_little_space_is_found_before_any_file_is_fetched(repo, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=250 * 2**20))
    with pytest.raises(DownloadError, match=r"needs 0\.3 GB .* 0\.3 GB are free"):
        download_model(REPO, endpoint=repo.url)
    assert repo.sent == {}


def test_a_gated_model_says_where_to_accept_the_licence_and_where_to_put_the_token(repo, monkeypatch):
    repo.gated.add(REPO)
    with pytest.raises(DownloadError, match=r"accept the licence at the model's page.*HF_TOKEN"):
        download_model(REPO, endpoint=repo.url)
    monkeypatch.setenv("HF_TOKEN", "accepted")
    assert (download_model(REPO, endpoint=repo.url) / "model.safetensors").read_bytes() == WEIGHTS
    assert "Bearer accepted" in repo.tokens


def test_the_token_is_in_no_message(repo, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    repo.gated.add(REPO)
    with pytest.raises(DownloadError) as caught:
        download_model(REPO, endpoint=repo.url)
    chain, error = "", caught.value
    while error is not None:
        chain, error = chain + str(error), error.__cause__ or error.__context__
    assert "hf_verysecret" not in chain + caplog.text


def test_a_wrong_name_and_a_wrong_revision_are_told_apart(repo):
    with pytest.raises(DownloadError, match=r"there is no model 'maker/modle'|no access to maker/modle.*name may"):
        download_model("maker/modle", endpoint=repo.url)
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        download_model(REPO, revision="v9", endpoint=repo.url)
    with pytest.raises(ValueError, match="expected 'owner/name'"):
        download_model("just-a-name", endpoint=repo.url)


def test_without_network_the_kaggle_input_is_the_advice():
    with pytest.raises(DownloadError, match="attach the model as a Kaggle input"):
        download_model(REPO, endpoint=f"http://127.0.0.1:{_closed_port()}")


def test_a_repository_without_weights_lists_what_it_holds(repo):
    repo.repos[REPO] = {"config.json": b"{}", "model.gguf": b"x"}
    with pytest.raises(DownloadError, match=r"no safetensors or \.bin weights .*config\.json, model\.gguf"):
        download_model(REPO, endpoint=repo.url)


def test_a_file_that_came_short_is_no_success(repo):
    repo.short.add("tokenizer.json")
    with pytest.raises(DownloadError):
        download_model(REPO, endpoint=repo.url)
    assert not (environment.scratch_dir() / "models" / "maker--model-1b" / ".download.json").exists()


def test_bin_weights_only_where_there_are_no_safetensors():
    assert wanted_files(["pytorch_model.bin", "training_args.bin", "optimizer.bin"]) == ["pytorch_model.bin"]
    sharded = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert wanted_files([*sharded, "pytorch_model.bin", "model.fp16.safetensors"]) == sharded


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

"""Folders as users have them: half copied, pointers instead of weights, adapters, names instead of paths."""

from __future__ import annotations

import json
import shutil

import pytest

from kaggle_utils.models.checkpoint import CheckpointError, check_loaded_keys, has_tokenizer, open_checkpoint


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def test_a_whole_folder_opens(model):
    checkpoint = open_checkpoint(model)
    assert checkpoint.safetensors and checkpoint.weight_files == (model / "model.safetensors",)
    assert checkpoint.weight_bytes == (model / "model.safetensors").stat().st_size
    assert checkpoint.config["model_type"] == "llama" and len(checkpoint.config_sha256) == 64


def test_a_missing_folder_lists_what_lies_beside_it(model):
    with pytest.raises(FileNotFoundError) as caught:
        open_checkpoint(model.parent / "modle" / "1")
    text = str(caught.value)
    assert f"In {model.parent} there is: model/" in text
    assert "config.json" in text and "Attach" in text


def test_a_name_on_the_hub_is_sent_to_download_model():
    with pytest.raises(FileNotFoundError, match=r"kaggle_utils\.models\.download\.download_model"):
        open_checkpoint("google/gemma-2-2b-it")


def test_everything_missing_is_reported_at_once(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    text = str(caught.value)
    for part in ("no config.json", "no tokenizer", "no weights", "notes.md"):
        assert part in text


def test_the_tokenizer_may_lie_elsewhere(model):
    for file in [*model.glob("token*"), *model.glob("vocab*")]:
        file.unlink()
    assert open_checkpoint(model, tokenizer=False).weight_files and not has_tokenizer(model)
    with pytest.raises(CheckpointError, match="no tokenizer: expected one of"):
        open_checkpoint(model)


def test_a_lora_adapter_is_named_as_such(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"this is a LoRA adapter; .* adapter= of load_sequence_classifier"):
        open_checkpoint(tmp_path)


def test_cut_weights_are_found_without_reading_them(model):
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=rf"has {len(whole) // 2} bytes, its header promises {len(whole)}"):
        open_checkpoint(model)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"])
def test_pointers_and_empty_files_are_no_weights(model, content):
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        open_checkpoint(model)


def test_missing_shards_are_named(model):
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="1 of 2 shards are missing: model-00002-of-00002"):
        open_checkpoint(model)


def test_broken_json_is_named(model):
    (model / "config.json").write_text('{"model_type": ')
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        open_checkpoint(model)


def test_keys_that_do_not_load_are_named_and_tied_ones_are_not(tmp_path):
    check_loaded_keys(tmp_path, {"missing_keys": {"lm_head.weight"}, "unexpected_keys": []}, tied=["lm_head.weight"])
    info = {"missing_keys": {"b.weight", "a.weight"}, "mismatched_keys": {("c.weight", (1, 2), (2, 1))}}
    with pytest.raises(CheckpointError) as caught:
        check_loaded_keys(tmp_path, info)
    assert "2 in the model but not in the weights (they would stay random): a.weight, b.weight" in str(caught.value)
    assert "c.weight" in str(caught.value)

"""What was asked for is what was loaded, and what is loaded later is what was saved."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("bitsandbytes")

from kaggle_utils.models import asked_model  # noqa: E402
from kaggle_utils.models.chat_templates import CHAT_TEMPLATES, check_chat_template  # noqa: E402
from kaggle_utils.models.checkpoint import CheckpointError, open_checkpoint  # noqa: E402
from kaggle_utils.models.download import download_model  # noqa: E402
from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.models.provenance import substitution_problems  # noqa: E402
from kaggle_utils.models.saving import quantize_and_save  # noqa: E402


@pytest.fixture(scope="module")
def small(tiny_llama, tmp_path_factory):
    """A quantised copy."""
    target = tmp_path_factory.mktemp("provenance") / "small"
    quantize_and_save(tiny_llama, target, device_map="cpu")
    return target


def edited(folder, target, **changes):
    """A copy with another config."""
    copy = shutil.copytree(folder, target)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy


def test_the_record_says_what_was_asked_for_loaded_and_saved(small, tiny_llama):
    record = json.loads((small / "provenance.json").read_text())
    assert record["asked"]["source"] == str(tiny_llama) and record["loaded"]["quantization_config"] is None
    assert record["saved"]["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    assert record["loaded"]["architectures"] == record["saved"]["architectures"] == ["LlamaForCausalLM"]
    assert record["loaded"]["weights"]["model.safetensors"] != record["saved"]["weights"]["model.safetensors"]
    assert open_checkpoint(small).config["model_type"] == "llama"


def test_a_folder_that_is_not_what_was_saved_is_refused_with_every_difference(small, tiny_llama, tmp_path):
    mixed = shutil.copytree(small, tmp_path / "mixed")
    shutil.copyfile(tiny_llama / "model.safetensors", mixed / "model.safetensors")
    shutil.copyfile(tiny_llama / "config.json", mixed / "config.json")
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_causal_lm(mixed)
    for part in ("config_sha256 was saved as", "quantization_config was saved as", "model.safetensors was saved with"):
        assert any(part in problem for problem in caught.value.problems), part
    torn = shutil.copytree(small, tmp_path / "torn")
    (torn / "provenance.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_checkpoint(torn)


def test_another_repository_s_four_bit_copy_is_refused(small, tiny_llama, tmp_path):
    """The cache of the hub holds what came under the asked name; its config tells who made it."""
    cached = tmp_path / "hub" / "models--google--gemma-2-27b" / "snapshots" / "abc"
    copy = edited(small, cached, _name_or_path="unsloth/gemma-2-27b-bnb-4bit")
    (copy / "provenance.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        quantize_and_save(copy, tmp_path / "out", expect="google/gemma-2-27b")
    text = str(caught.value)
    assert "not the plain model asked for (google/gemma-2-27b)" in text
    assert "already quantised (by 'unsloth/gemma-2-27b-bnb-4bit'): bitsandbytes" in text
    renamed = edited(tiny_llama, tmp_path / "models--unsloth--gemma-2-27b", _name_or_path="unsloth/gemma-2-27b")
    with pytest.raises(CheckpointError, match=r"copy of 'unsloth/gemma-2-27b', not of 'google/gemma-2-27b'"):
        quantize_and_save(renamed, tmp_path / "out", expect="google/gemma-2-27b")
    assert not (tmp_path / "out").exists()
    hidden = edited(small, tmp_path / "hidden", quantization_config=None)  # 4-bit weights under a plain config
    (hidden / "provenance.json").unlink()
    checkpoint = open_checkpoint(hidden)
    (problem,) = substitution_problems(str(hidden), hidden, checkpoint.config, checkpoint.weight_files)
    assert "quantised although its config does not say so" in problem
    plain = open_checkpoint(renamed)
    assert not substitution_problems(
        "google/gemma-2-27b", tmp_path, plain.config, plain.weight_files, accepted=("unsloth/gemma-2-27b",)
    )


def test_a_hub_id_is_fetched_checked_and_recorded(hub, tiny_llama, tmp_path, monkeypatch):
    hub.repos["owner/tiny"] = {file.name: file.read_bytes() for file in tiny_llama.iterdir()}
    fetch = lambda repo, *, revision: download_model(repo, revision=revision, endpoint=hub.url)  # noqa: E731
    monkeypatch.setattr(asked_model, "download_model", fetch)
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "scratch"))
    commit = hub.commit("owner/tiny")
    quantize_and_save("owner/tiny", tmp_path / "small", revision=commit, device_map="cpu")
    record = json.loads((tmp_path / "small" / "provenance.json").read_text())
    assert record["asked"]["source"] == "owner/tiny" and record["asked"]["revision"] == commit
    assert record["loaded"]["download"]["commit"] == commit
    config = {**json.loads(hub.repos["owner/tiny"]["config.json"]), "_name_or_path": "other/tiny-4bit"}
    hub.repos["owner/tiny"]["config.json"] = json.dumps(config).encode()
    with pytest.raises(CheckpointError, match="its config says it is 'other/tiny-4bit'"):
        quantize_and_save("owner/tiny", tmp_path / "again", device_map="cpu")
    with pytest.raises(ValueError, match="is for hub ids"):
        quantize_and_save(tiny_llama, tmp_path / "again", revision="main")


def test_a_base_model_gets_a_template_by_name_that_was_checked_first(tiny_llama, tmp_path):
    base = shutil.copytree(tiny_llama, tmp_path / "base")
    with pytest.raises(ValueError, match="has a chat template of its own"):
        quantize_and_save(base, tmp_path / "out", chat_template="chatml")
    (base / "chat_template.jinja").unlink()
    with pytest.raises(
        ValueError, match=r"(?s)'gemma2' cannot be used.*<bos>, <start_of_turn>, <end_of_turn> are no tok"
    ):
        quantize_and_save(base, tmp_path / "out", chat_template="gemma2")
    with pytest.raises(ValueError, match="is unknown; use one of gemma2, chatml"):
        quantize_and_save(base, tmp_path / "out", chat_template="gema")
    assert not (tmp_path / "out").exists()
    quantize_and_save(base, tmp_path / "out", chat_template="chatml", device_map="cpu")
    model, tokenizer = load_causal_lm(tmp_path / "out")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ends = model.generation_config.eos_token_id
    assert end in (ends if isinstance(ends, list) else [ends])


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_the_jinja_texts_write_what_the_chat_templates_write(name, tmp_path):
    from family_tokenizers import byte_level

    from kaggle_utils.chat.templates import TEMPLATES

    tokenizer = byte_level()
    tokenizer.save_pretrained(tmp_path)
    end = check_chat_template(tmp_path, name)
    assert tokenizer.convert_ids_to_tokens(end) == CHAT_TEMPLATES[name].end_of_turn
    tokenizer.chat_template = CHAT_TEMPLATES[name].jinja
    turns = [
        {"role": "user", "content": " Hi "},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "b"},
    ]
    for length, prompt in ((1, True), (3, True), (2, False)):
        ids = tokenizer.apply_chat_template(turns[:length], add_generation_prompt=prompt, return_dict=True)["input_ids"]
        assert TEMPLATES[name].encode(turns[:length], tokenizer, add_generation_prompt=prompt) == list(ids)

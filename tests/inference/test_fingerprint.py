"""A fingerprint changes with everything that it promises to see, and with nothing else."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kaggle_utils.inference.fingerprint import row_digest, run_fingerprint


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [3 << 20], "data_offsets": [0, 12 << 20]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12 << 20))
    (folder / "README.md").write_text("hello")
    return folder


def test_same_content_elsewhere_is_the_same_run(model, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(model, copy)
    (copy / "README.md").write_text("another readme")
    assert run_fingerprint(model, style="gemma", max_length=2048) == run_fingerprint(
        copy, max_length=2048, style="gemma"
    )


def test_everything_that_decides_a_result_changes_it(model, tmp_path):
    adapter = tmp_path / "adapter.bin"
    adapter.write_bytes(b"lora")
    seen = {
        run_fingerprint(model),
        run_fingerprint(model, dtype="float16"),
        run_fingerprint(model, dtype="bfloat16"),
        run_fingerprint(model, style={"head": "a"}),
        run_fingerprint(model, adapter=adapter),
        run_fingerprint(model, full=True),
    }
    adapter.write_bytes(b"LORA")
    seen.add(run_fingerprint(model, adapter=adapter))
    (model / "config.json").write_text('{"model_type": "gemma2"}')
    seen.add(run_fingerprint(model))
    (model / "model.safetensors").rename(model / "model-00001.safetensors")
    seen.add(run_fingerprint(model))
    assert len(seen) == 9


def test_the_settings_beside_a_bare_adapter_are_part_of_it(model, tmp_path):
    adapter, settings = tmp_path / "adapter.pth", tmp_path / "adapter_config.json"
    adapter.write_bytes(b"lora")
    seen = {run_fingerprint(model, adapter=adapter)}
    for alpha in (8, 800):
        settings.write_text(json.dumps({"lora_alpha": alpha}))
        seen.add(run_fingerprint(model, adapter=adapter))
    assert len(seen) == 3, "results of one alpha would be taken for those of another"


@pytest.mark.parametrize(("offset", "sampled"), [(-1, True), (0, True), (6_000_000, False)])
def test_large_files_are_sampled_and_full_sees_all(model, offset, sampled):
    before, before_full = run_fingerprint(model), run_fingerprint(model, full=True)
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)
    assert (run_fingerprint(model) != before) is sampled
    assert run_fingerprint(model, full=True) != before_full


def test_wrong_inputs_are_named(model, tmp_path):
    with pytest.raises(TypeError, match=r"dtype=<object.*style=\{1: 2\}"):
        run_fingerprint(model, dtype=object(), style={1: 2})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_fingerprint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no model or adapter files"):
        run_fingerprint(tmp_path / "empty")


def test_rows_differ_by_content_order_and_length():
    rows = [[1, 2], [2, 1], [1, 2, 0], [1], [258], [1, 1]]
    assert len({row_digest(np.array(row)) for row in rows}) == len(rows)

"""The probe: its prediction decides whether an archive is promised to fit."""

import numpy as np
import pytest
from archive_sources import bf16_bytes

from submission_builder.packing.deflate import deflate, store, stored_size
from submission_builder.packing.entropy import entropy_bits, probe_file


def real_ratio(data: bytes) -> float:
    chunks = [data[i : i + 2**20] for i in range(0, len(data), 2**20)]
    return sum(len(deflate(chunk)) for chunk in chunks) / len(data)


@pytest.mark.parametrize(
    ("name", "data", "tolerance"),
    [
        ("bf16 weights", bf16_bytes(4_000_000), 0.01),
        ("random", np.random.default_rng(0).bytes(4_000_000), 0.001),
        ("int8 weights", np.random.default_rng(0).normal(0, 20, 4_000_000).astype(np.int8).tobytes(), 0.01),
        ("json", b"".join(b'{"id": %d, "word": "w%d"}\n' % (i, i * 7919 % 5000) for i in range(150_000)), 0.05),
    ],
)
def test_prediction_is_near_what_deflate_makes(tmp_path, name, data, tolerance):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert probe_file(path, len(data)).ratio == pytest.approx(real_ratio(data), abs=tolerance), name


def test_entropy_of_known_distributions():
    assert entropy_bits(b"") == 0
    assert entropy_bits(b"aab" + b"b" * 1) == 1.0
    assert entropy_bits(b"aaab") == pytest.approx(0.8112781, abs=1e-6)


def test_empty_file_has_a_probe(tmp_path):
    (tmp_path / "empty").touch()
    assert probe_file(tmp_path / "empty", 0).ratio == 1.0


def test_fingerprint_tells_copies_from_others(tmp_path):
    for name, seed in (("a", 1), ("copy", 1), ("b", 2)):
        (tmp_path / name).write_bytes(bf16_bytes(600_000, seed=seed))
    prints = [probe_file(tmp_path / name, 1_200_000).fingerprint for name in ("a", "copy", "b")]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 16 * 65535])
def test_a_chunk_is_never_longer_than_stored(length):
    data = np.random.default_rng(length).bytes(length)
    assert len(deflate(data)) <= stored_size(length) == len(store(data))

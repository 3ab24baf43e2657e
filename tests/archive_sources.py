"""Small real inputs for the archive tests: an agent, text, weights that shrink and weights that do not."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

MAIN = 'def agent(obs, cfg):\n    return "no"\n'


def bf16_bytes(count: int, *, seed: int = 0) -> bytes:
    """``count`` gaussian bfloat16 numbers: two bytes each, deflate leaves about 78 % of them."""
    values = np.random.default_rng(seed).standard_normal(count, dtype=np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def write_safetensors(path: Path, data: bytes) -> Path:
    """A valid file with one bfloat16 tensor."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def write_sources(folder: Path, *, weights: int = 1_500_000) -> dict:
    """main.py and a model folder below ``folder``; returns the arguments of ``make_plan``."""
    model = folder / "sources" / "model"
    model.mkdir(parents=True)
    main = folder / "sources" / "agent.py"
    main.write_text(MAIN)
    write_safetensors(model / "model.safetensors", bf16_bytes(weights))
    (model / "packed.bin").write_bytes(np.random.default_rng(1).bytes(2_500_000))
    (model / "config.json").write_text(json.dumps({"words": [f"word {i}" for i in range(2000)]}))
    (model / "empty.txt").write_text("")
    return {"main": main, "include": {"model": model}, "output": folder / "submission.tar.gz"}

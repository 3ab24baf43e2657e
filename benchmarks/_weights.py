"""Write bfloat16 weights that compress like those of a trained LLM, without having one.

Matrix shapes of Gemma 2 9B; each is gaussian with standard deviation 0.015 to 0.02, a log-normal factor for each row
(0.3) and column (0.15), and one column in a thousand six times larger. Their order-0 entropy is 6.2 bits per byte;
that of real weights is 6.2 to 6.6.

    python benchmarks/_weights.py FOLDER --bytes 1000000000
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["main", "write_weights"]

_LAYER = {
    "self_attn.q_proj": (4096, 3584), "self_attn.k_proj": (2048, 3584), "self_attn.v_proj": (2048, 3584),
    "self_attn.o_proj": (3584, 4096), "mlp.gate_proj": (14336, 3584), "mlp.up_proj": (14336, 3584),
    "mlp.down_proj": (3584, 14336),
}  # fmt: skip
_ROWS = 256


def write_weights(folder: Path, total: int, *, seed: int = 0) -> Path:
    """``total`` bytes of tensors (within one row) as one safetensors file in ``folder``; returns the file.

    Written under another name first, so that a file which is there is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / "model.safetensors", folder / "weights.unfinished"
    tensors, header, offset = list(_tensors(total)), {}, 0
    for name, (rows, columns) in tensors:
        size = 2 * rows * columns
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    random = np.random.default_rng(seed)
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for _, (rows, columns) in tensors:
            for block in _blocks(random, rows, columns):
                file.write(block)
    return partial.replace(path)


def _tensors(total: int) -> Iterator[tuple[str, tuple[int, int]]]:
    left, layer = total, 0
    while left > 0:
        for name, (rows, columns) in _LAYER.items():
            fitting = min(rows, left // (2 * columns))
            if fitting <= 0:
                return
            left -= 2 * fitting * columns
            yield f"model.layers.{layer}.{name}.weight", (fitting, columns)
        layer += 1


def _blocks(random: np.random.Generator, rows: int, columns: int) -> Iterator[bytes]:
    """bfloat16 rows, rounded to nearest, ``_ROWS`` at a time."""
    scale = np.exp(random.normal(0, 0.15, columns)) * random.uniform(0.015, 0.02)
    scale[random.choice(columns, max(1, columns // 1000), replace=False)] *= 6
    for start in range(0, rows, _ROWS):
        count = min(_ROWS, rows - start)
        values = random.standard_normal((count, columns), dtype=np.float32)
        values *= np.exp(random.normal(0, 0.3, (count, 1))).astype(np.float32)
        values *= scale.astype(np.float32)
        yield ((values.view(np.uint32) + 0x8000) >> 16).astype("<u2").tobytes()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bytes", type=int, default=10**9)
    args = parser.parse_args()
    print(write_weights(args.folder, args.bytes))


if __name__ == "__main__":
    main()

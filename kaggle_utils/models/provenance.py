"""What a model folder was made of: what was asked for, what was loaded, what was saved; and whether it still is that.

It promises that a copy of another maker is not taken for the model that was asked for, as far as names, settings and
stored types tell, and that a folder whose record disagrees with what lies in it is refused. It reads headers of
weights, not the weights: changed numbers under an unchanged header go unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["PROVENANCE", "describe_folder", "disagreements", "is_hub_id", "substitution_problems", "weight_fingerprint"]

PROVENANCE = "provenance.json"
"""Name of the record in a folder."""

_CACHE = re.compile(r"models--([^/]+)--([^/]+)")
_PACKED = re.compile(r"\.(absmax|quant_map|nested_absmax|SCB|qweight|qzeros|g_idx)$|\.quant_state\.")
_NOT_PLAIN = {"U8", "I8", "F8_E4M3", "F8_E5M2", "I32"}


def is_hub_id(text: str) -> bool:
    """Tell whether a text looks like ``owner/name``.

    >>> is_hub_id("google/gemma-2-2b-it"), is_hub_id("/kaggle/input/gemma"), is_hub_id("./gemma/2b")
    (True, False, False)
    """
    parts = text.split("/")
    return len(parts) == 2 and all(parts) and not text.startswith(("/", ".", "~"))


def weight_fingerprint(files: Sequence[Path]) -> dict[str, str]:
    """Name each file of weights by its size and the digest of its header (of its first megabyte, for a .bin)."""
    found = {}
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little") if file.suffix == ".safetensors" else 1 << 20
            digest = hashlib.sha256(stream.read(min(length, size))).hexdigest()
        found[file.name] = f"{size} bytes, header {digest[:32]}"
    return found


def describe_folder(folder: Path, config: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """What a folder holds, fit for JSON: config digest, architecture, stored quantisation, weights."""
    return {
        "config_sha256": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        "architectures": list(config.get("architectures") or []),
        "model_type": config.get("model_type"),
        "quantization_config": config.get("quantization_config"),
        "weights": weight_fingerprint(files),
    }


def disagreements(folder: Path, config: Mapping[str, Any], files: Sequence[Path]) -> list[str]:
    """Name what in a folder is not what its record says was saved; empty where there is no record."""
    file = folder / PROVENANCE
    if not file.is_file():
        return []
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))["saved"]
        expected = {key: saved[key] for key in ("config_sha256", "architectures", "quantization_config", "weights")}
    except (ValueError, KeyError, TypeError) as error:
        return [
            f"{PROVENANCE} cannot be read ({type(error).__name__}: {error}); take it from a whole copy of the folder"
        ]
    found = describe_folder(folder, config, files)
    wrong = [f"{key} was saved as {value!r} and is {found[key]!r}" for key, value in expected.items()
             if key != "weights" and found[key] != value]  # fmt: skip
    before, now = expected["weights"], found["weights"]
    wrong += [f"{name} was saved with {before.get(name, 'nothing')} and has {now.get(name, 'nothing')}"
              for name in sorted({*before, *now}) if before.get(name) != now.get(name)]  # fmt: skip
    if wrong:
        advice = (
            f"files of two models are mixed here, or one was edited; copy it again (without {PROVENANCE} nobody looks)"
        )
        wrong = [f"it is not what {PROVENANCE} says was saved: {each}" for each in wrong] + [advice]
    return wrong


def substitution_problems(
    asked: str, folder: Path, config: Mapping[str, Any], files: Sequence[Path], *, accepted: Collection[str] = ()
) -> list[str]:
    """Name every sign that ``folder`` is not the plain model that was asked for.

    Args:
        asked: a hub id, or the folder as the caller named it (then only its own contents are judged).
        folder: where it was found.
        config: its ``config.json``.
        files: its weights.
        accepted: further names that the model may bear in ``_name_or_path`` or in a cache folder's name.
    """
    problems = []
    wanted = {asked, *accepted} if is_hub_id(asked) else None
    cached = next((f"{m[1]}/{m[2]}" for part in folder.resolve().parts if (m := _CACHE.fullmatch(part))), None)
    named = str(config.get("_name_or_path") or "")
    if wanted and cached and cached not in wanted:
        problems.append(f"the folder is the hub's copy of {cached!r}, not of {asked!r}")
    expected = wanted or ({cached, *accepted} if cached else None)
    if expected and is_hub_id(named) and named not in expected:
        problems.append(
            f"its config says it is {named!r}; if that is what you want (a renamed or further trained copy), give "
            f"accept=({named!r},)"
        )
    if stored := config.get("quantization_config"):
        kind = stored.get("quant_method") or stored.get("bnb_4bit_quant_type") or "4 or 8 bits"
        by = f" (by {named!r})" if named else ""
        problems.append(f"its weights are already quantised{by}: {kind}; start from the original weights")
    elif packed := _packed_tensors(files):
        problems.append(f"its weights are quantised although its config does not say so: {', '.join(packed[:3])}")
    return problems


def _packed_tensors(files: Sequence[Path]) -> list[str]:
    """Tensors that only a quantised checkpoint has, from the headers of safetensors files."""
    found = []
    for file in files:
        if file.suffix == ".safetensors":
            with file.open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            header.pop("__metadata__", None)
            found += [f"{name} ({entry['dtype']})" for name, entry in header.items() if _is_packed(name, entry)]
    return found


def _is_packed(name: str, entry: Mapping[str, Any]) -> bool:
    return bool(_PACKED.search(name)) or (name.endswith(".weight") and entry["dtype"] in _NOT_PLAIN)

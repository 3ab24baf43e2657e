"""Names of the tensors in an adapter file, brought into one form.

peft writes ``base_model.model.<layer>.lora_A.weight``; ``torch.save`` of a whole model adds the adapter's name
(``lora_A.default.weight``), wrappers add ``module.`` or ``_orig_mod.``, and the score head may be called
``score.modules_to_save.default.weight``. It promises names as the bare model has them, and an error where two tensors
would get the same one. It knows nothing but names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = ["AdapterKeyError", "lies_in", "listed", "split_adapter_keys"]

_T = TypeVar("_T")
_PREFIXES = ("module.", "_orig_mod.", "base_model.model.")
_SAVED = ".modules_to_save"
_ORIGINAL = ".original_module"
_CHILDREN = ("dense", "out_proj", "weight", "bias")  # what heads are made of, and no adapter is called


class AdapterKeyError(ValueError):
    """Names that cannot be those of one adapter, all at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def split_adapter_keys(tensors: Mapping[str, _T]) -> tuple[dict[str, _T], dict[str, _T]]:
    """Sort an adapter's tensors into those of LoRA and whole parameters, under the names of the bare model.

    Raises:
        AdapterKeyError: two tensors of one name (two adapters in a file, say).

    >>> lora, modules = split_adapter_keys({
    ...     "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": 1,
    ...     "module.base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": 2,
    ...     "base_model.model.score.original_module.weight": 3,
    ...     "base_model.model.score.modules_to_save.default.weight": 4})
    >>> list(lora)
    ['model.layers.0.self_attn.q_proj.lora_A.weight', 'model.layers.0.self_attn.q_proj.lora_B.weight']
    >>> modules
    {'score.weight': 4}
    """
    lora: dict[str, _T] = {}
    modules: dict[str, _T] = {}
    given: dict[str, str] = {}
    problems = []
    for key, tensor in tensors.items():
        name = _bare(key)
        if name is None:
            continue  # the untrained copy that peft keeps beside a saved module
        if name in given:
            problems.append(f"{given[name]} and {key} are both {name}: keep one adapter in the file")
        given[name] = key
        (lora if ".lora_" in name else modules)[name] = tensor
    if problems:
        raise AdapterKeyError(problems)
    return lora, modules


def lies_in(name: str, modules: Sequence[str]) -> bool:
    """Tell whether a parameter belongs to one of the modules, which are whole parts of its dotted name.

    >>> lies_in("model.score.weight", ("classifier", "score")), lies_in("model.rescore.weight", ("score",))
    (True, False)
    """
    return any(f".{module}." in f".{name}" for module in modules)


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Name the first few, and say how many more there are.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _bare(key: str) -> str | None:
    while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
        key = key[len(prefix) :]
    if _ORIGINAL in key:
        return None
    if _SAVED in key:
        module, _, rest = key.partition(_SAVED)
        parts = rest.strip(".").split(".")
        if len(parts) > 1 and parts[0] not in _CHILDREN:  # the adapter's name
            parts = parts[1:]
        return ".".join([module, *parts])
    if ".lora_" in key:
        return _bare_lora(key)
    return key.replace(".base_layer.", ".")


def _bare_lora(key: str) -> str:
    """Drop the adapter's name.

    >>> _bare_lora("q.lora_A.default.weight"), _bare_lora("q.lora_magnitude_vector.default")
    ('q.lora_A.weight', 'q.lora_magnitude_vector')
    """
    layer, _, rest = key.partition(".lora_")
    kind, *names = rest.split(".")
    tail = f".{names[-1]}" if names and names[-1] in ("weight", "bias") else ""
    return f"{layer}.lora_{kind}{tail}"

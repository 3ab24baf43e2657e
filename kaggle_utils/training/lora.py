"""LoRA and QLoRA: which layers get low-rank updates, and how the model under them is stored.

It promises that every name given matches something in the model, or an error that lists what is there; that only the
adapter (and ``modules_to_save``) is trained, in float32; and that the same seed gives the same first weights. It uses
peft. Unsloth's patched models are an option for an environment of its own (it caps transformers and is partly AGPL):
load with ``FastLanguageModel``, and give the model in memory to ``train_sft``; nothing here imports it.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.models.quantization import QUANTIZATIONS

__all__ = ["ALL_LINEAR", "LoraSettings", "attach_lora"]

ALL_LINEAR = "all-linear"
"""Every linear layer but the output head."""


@dataclass(frozen=True)
class LoraSettings:
    """Which updates are learnt.

    >>> LoraSettings(r=8, target_modules=("q_proj", "v_proj"), quantization="nf4").lora_alpha
    32
    """

    r: int = 16
    """Rank of the update matrices."""
    lora_alpha: float = 32
    """Scale: the update is ``lora_alpha / r`` times B A."""
    lora_dropout: float = 0.0
    """Share of a layer's inputs that its update does not see in a step."""
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    """Ends of layer names, such as ``("q_proj", "v_proj")``, or :data:`ALL_LINEAR`."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained whole and saved with the adapter, such as ``("embed_tokens", "lm_head")``."""
    use_rslora: bool = False
    """The scale is ``lora_alpha / sqrt(r)`` instead."""
    use_dora: bool = False
    """Learn magnitudes apart from directions; slower."""
    quantization: str = "none"
    """How the weights under the adapter are stored: "nf4" is QLoRA. A folder that is already quantised stays so."""
    double_quant: bool = True
    """Quantise the scales of 4-bit weights too."""

    def __post_init__(self) -> None:
        for name in ("target_modules", "modules_to_save"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        if problems := _problems(self):
            raise ValueError("LoRA settings that cannot work:\n" + "\n".join(f"  - {p}" for p in problems))

    def as_dict(self) -> dict[str, Any]:
        """All of them, fit for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def attach_lora(model: Any, settings: LoraSettings, *, seed: int = 42) -> Any:
    """Put new adapters on ``model``, freeze everything else, and return the ``peft.PeftModel``.

    Raises:
        ValueError: names that match nothing in the model; the message lists its layers.
    """
    torch, peft = require("torch", extra="llm"), require("peft", extra="llm")
    targets, saved = _resolved(model, settings)
    config = peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        modules_to_save=saved or None,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        attached = peft.get_peft_model(model, config)
    for parameter in attached.parameters():
        if parameter.requires_grad:  # 16-bit weights would swallow small steps, and fp16 scaling refuses them
            parameter.data = parameter.data.float()
    return attached


def _resolved(model: Any, settings: LoraSettings) -> tuple[list[str], list[str]]:
    """Names for peft, each of which matches; peft itself is content if one of them does."""
    linear = _linear_names(model)
    kinds = Counter(name.rpartition(".")[2] for name in linear)
    wanted = settings.target_modules
    targets = sorted(kinds) if wanted == ALL_LINEAR else list((wanted,) if isinstance(wanted, str) else wanted)
    everything = [name for name, _ in model.named_modules() if name]
    problems = _unmatched("target_modules", targets, linear, kinds)
    problems += _unmatched("modules_to_save", settings.modules_to_save, everything, kinds)
    if problems:
        there = ", ".join(f"{kind} x {count}" for kind, count in sorted(kinds.items()))
        raise ValueError(
            f"LoRA cannot be put on {type(model).__name__}:\n"
            + "\n".join(f"  - {p}" for p in problems)
            + f"\nIts linear layers are: {there}; or give target_modules={ALL_LINEAR!r}"
        )
    return targets, list(settings.modules_to_save)


def _linear_names(model: Any) -> list[str]:
    torch = require("torch", extra="llm")
    head = model.get_output_embeddings()
    kinds: tuple[type, ...] = (torch.nn.Linear, require("transformers", extra="llm").pytorch_utils.Conv1D)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module is not head]


def _unmatched(what: str, names: Sequence[str], there: Sequence[str], kinds: Counter[str]) -> list[str]:
    problems = []
    for name in names:
        if not any(each == name or each.endswith(f".{name}") for each in there):
            near = difflib.get_close_matches(name.rpartition(".")[2], [*kinds, *(n.rpartition(".")[2] for n in there)])
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"{what} names {name!r}, which matches nothing{hint}")
    return problems


def _problems(settings: LoraSettings) -> list[str]:
    targets = settings.target_modules
    rules = [
        ("r", "a whole number of at least 1", isinstance(settings.r, int) and settings.r >= 1),
        ("lora_alpha", "above 0", settings.lora_alpha > 0),
        ("lora_dropout", "at least 0 and below 1", 0 <= settings.lora_dropout < 1),
        ("target_modules", f"names of layers, or {ALL_LINEAR!r}", bool(targets) and _texts(targets)),
        ("modules_to_save", "a tuple of names", not isinstance(settings.modules_to_save, str)),
        ("quantization", f"one of {', '.join(QUANTIZATIONS)}", settings.quantization in QUANTIZATIONS),
    ]
    return [f"{name} is {getattr(settings, name)!r}, expected {wanted}" for name, wanted, good in rules if not good]


def _texts(names: Any) -> bool:
    return isinstance(names, str) or all(isinstance(name, str) and name for name in names)

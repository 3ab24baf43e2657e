"""One model on several devices, a run of layers on each: how 16 GB cards hold a 9B model in float16.

While the second device works on pack i, the first works on pack i + 1: launches return before their work is done, so a
caller that launches the next pack before it collects the last (the engine does) keeps all busy without a thread here.
It promises the same numbers as on one device, and that what all layers of a stage read (rotary tables, block masks) is
copied to its device once a pack. It does not balance by measured time: layers are shared out evenly.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["split_layers", "stage_devices", "stage_map", "stage_starts"]


def stage_devices(device: str) -> list[str]:
    """Return the devices of a pipeline as the engine writes it; a single device is a pipeline of one.

    >>> stage_devices("cuda:0,cuda:1"), stage_devices("cpu")
    (['cuda:0', 'cuda:1'], ['cpu'])

    Raises:
        ValueError: an empty name, or GPUs and the CPU in one pipeline.
    """
    names = [name.strip() for name in device.split(",")]
    if not all(names) or len({name.partition(":")[0] for name in names}) > 1:
        raise ValueError(f"device {device!r} is no pipeline; expected devices of one kind, such as 'cuda:0,cuda:1'")
    return names


def stage_starts(layers: int, stages: int) -> list[int]:
    """Return the first layer of each stage; later stages take what does not divide evenly.

    The first device also holds the token embedding, which costs memory but no time.

    >>> stage_starts(42, 2), stage_starts(7, 3)
    ([0, 21], [0, 2, 4])
    """
    if not 1 <= stages <= layers:
        raise ValueError(f"{stages} stages for {layers} layers; expected 1 to {layers}")
    return [layers * i // stages for i in range(stages)]


def stage_map(layers: int, devices: Sequence[str]) -> dict[str, str]:
    """Return the ``device_map`` under which a decoder loads straight to where :func:`split_layers` wants it.

    >>> stage_map(2, ["cuda:0", "cuda:1"])
    {'model.embed_tokens': 'cuda:0', 'model.rotary_emb': 'cuda:0', 'model.layers.0': 'cuda:0',
     'model.layers.1': 'cuda:1', 'model.norm': 'cuda:1', 'score': 'cuda:1'}
    """
    first, last = devices[0], devices[-1]
    owners = _owners(layers, devices)
    placed = {f"model.layers.{index}": device for index, device in enumerate(owners)}
    return {"model.embed_tokens": first, "model.rotary_emb": first, **placed, "model.norm": last, "score": last}


def split_layers(model: torch.nn.Module, devices: Sequence[str]) -> list[int]:
    """Lay the decoder layers of ``model`` out over ``devices`` in equal runs, in place; returns the first of each run.

    Embedding and rotary tables go to the first device, the last norm and the score head to the last. Layers keep their
    names, and ``layer.compile()`` fuses what it did before: the handover happens before the compiled part is called.

    Args:
        model: a sequence classifier with ``model.model.layers`` and ``model.score`` (Gemma-2, Llama, Mistral, Qwen).
        devices: where the runs go, in order; one may be named twice.

    Raises:
        ValueError: more devices than layers, none, or a model without such layers.
    """
    torch = require("torch", extra="llm")
    layers = getattr(getattr(model, "model", None), "layers", None)
    if layers is None or not hasattr(model, "score"):
        raise ValueError(
            f"{type(model).__name__} has no decoder layers and score head, so it cannot be cut into stages"
        )
    starts = stage_starts(len(layers), len(devices))
    for name, part in model.model.named_children():
        if part is not layers:
            part.to(devices[-1] if name == "norm" else devices[0])
    model.score.to(devices[-1])
    home = model.get_input_embeddings().weight.device
    for number, device in enumerate(devices):
        stop = starts[number + 1] if number + 1 < len(devices) else len(layers)
        stage = _Stage(torch.device(device), home)
        for index in range(starts[number], stop):
            layer = layers[index].to(device)
            layer.__class__ = _class_in_stage(type(layer), later=number > 0)
            if number:
                layer._stage, layer._ends_stage = stage, (index == starts[number], index == stop - 1)
    return starts


def _owners(layers: int, devices: Sequence[str]) -> list[str]:
    starts = [*stage_starts(layers, len(devices)), layers]
    return [device for i, device in enumerate(devices) for _ in range(starts[i + 1] - starts[i])]


class _Stage:
    """A run of layers on one device, and what was copied there for the pack at hand."""

    def __init__(self, device: torch.device, home: torch.device) -> None:
        self.device, self._home = device, home
        self._copies: dict[int, tuple[Any, Any]] = {}

    def forget(self) -> None:
        self._copies.clear()

    def moved(self, value: Any) -> Any:
        """``value`` on this device, copied once a pack; the original is held too, so that its id stays its own."""
        if id(value) not in self._copies:
            self._copies[id(value)] = (value, _on(value, self.device, self._home))
        return self._copies[id(value)][1]

    def current(self) -> Any:
        """Some kernels launch on the thread's current device, whatever their tensors say."""
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        return require("torch", extra="llm").cuda.device(self.device)


class _Staged:
    """Mixed into the class of a layer that lies on a later device. Compiled graphs begin below this call."""

    _stage: _Stage
    _ends_stage: tuple[bool, bool]

    def __init_subclass__(cls, **_: Any) -> None:
        pass  # transformers would wrap forward() a second time here

    def __call__(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        stage, (first, last) = self._stage, self._ends_stage
        if first:
            stage.forget()
        with stage.current():
            hidden = hidden.to(stage.device, non_blocking=True)
            args = tuple(stage.moved(value) for value in args)
            kwargs = {name: stage.moved(value) for name, value in kwargs.items()}
            out = super().__call__(hidden, *args, **kwargs)  # type: ignore[misc]
        if last:
            stage.forget()
        return out


@functools.lru_cache(maxsize=None)  # noqa: UP033 (one class a family: the compiler makes a graph for every class)
def _class_in_stage(layer: type, *, later: bool) -> type:
    plain = layer.__bases__[1] if issubclass(layer, _Staged) else layer
    # It keeps the name, by which others know the layer's layout.
    return type(plain.__name__, (_Staged, plain), {}) if later else plain


def _on(value: Any, device: torch.device, home: torch.device) -> Any:
    """A copy of ``value`` on ``device``. What does not lie on the first stage's device is for the host, and stays."""
    torch = require("torch", extra="llm")
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True) if value.device == home else value
    if isinstance(value, tuple | list):
        return type(value)(_on(part, device, home) for part in value)
    if isinstance(value, Mapping):
        return {key: _on(part, device, home) for key, part in value.items()}
    if hasattr(value, "mask_mod"):  # flex attention's BlockMask; its own .to() leaves what the function captured behind
        moved = value.to(device)
        moved.mask_mod = _function_on(value.mask_mod, device, home)
        return moved
    return value


def _function_on(function: Callable, device: torch.device, home: torch.device) -> Callable:
    """The same function, the tensors that it captured on ``device``."""
    if not getattr(function, "__closure__", None):
        return function
    cells = tuple(types.CellType(_on(cell.cell_contents, device, home)) for cell in function.__closure__)
    copy = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy

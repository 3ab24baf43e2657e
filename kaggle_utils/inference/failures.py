"""What an error in a worker means: too little memory, a lost device, or something to report.

It promises to tell these apart by what the libraries raise today. It does not decide what is done about it.
"""

from __future__ import annotations

import gc
import sys
import traceback
from typing import Any

__all__ = ["NO_MEMORY", "Failure", "attempt", "error_text", "free_memory", "is_device_lost", "is_out_of_memory"]


class Failure:
    """What is left of an error once it and the tensors that its frames hold are gone."""

    def __init__(self, text: str, *, device_lost: bool = False) -> None:
        self.text, self.device_lost = text, device_lost


NO_MEMORY = Failure("out of memory")
"""The failure that a smaller pack may mend."""


def attempt(function: Any, *arguments: Any, **options: Any) -> Any:
    """Return what ``function`` gives, or a :class:`Failure`; after one of memory, what can be freed is free."""
    try:
        return function(*arguments, **options)
    except Exception as error:
        memory = is_out_of_memory(error)
        failure = NO_MEMORY if memory else Failure(error_text(error), device_lost=is_device_lost(error))
    if memory:
        free_memory()
    return failure


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a smaller pack may help.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED ..."))
    (True, True)
    >>> is_out_of_memory(ValueError("out of luck"))
    False
    """
    if isinstance(error, MemoryError) or any(c.__name__ == "OutOfMemoryError" for c in type(error).__mro__):
        return True
    words = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory", "CUDA error: out of memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def is_device_lost(error: BaseException) -> bool:
    """Tell whether the device answers nothing more in this process."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


def error_text(error: BaseException) -> str:
    """Return an error's type and words, and the line that raised it."""
    where = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__}: {error}" + "".join(f" ({f.filename}:{f.lineno} in {f.name})" for f in where)


def free_memory() -> None:
    """Give back what nobody refers to any more."""
    gc.collect()
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # without it while another thread imports torch
    if hasattr(cuda, "empty_cache") and cuda.is_available() and cuda.is_initialized():
        cuda.empty_cache()

"""Copies between the host and a GPU that neither side waits for.

An ordinary copy to a GPU waits until all that was launched before it is done, and so does one back: logits that are
asked for after the next pack was launched would come with that pack. Either way the device runs dry between packs, and
two stages of a pipeline take turns instead of working side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["Launched", "to_device"]


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A copy of ``array`` on ``device``, of the same dtype; on a GPU it is under way."""
    tensor = require("torch", extra="llm").from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Launched:
    """What a device is still computing, on its way to the host from the moment that it is there.

    Attributes:
        device: where it is computed.
        host: the same on the host, of the same shape and dtype, not to be read before :meth:`wait`.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.device, self.host, self._copied = tensor.device, tensor, None
        if tensor.device.type == "cuda":
            torch = require("torch", extra="llm")
            self.host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self.host.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.current_stream(tensor.device).record_event()

    def wait(self) -> np.ndarray:
        """The numbers, as soon as they are there, whatever was launched after them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self.host.cpu().numpy()

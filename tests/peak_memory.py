"""The highest number of bytes that a computation holds at once, counted by watching every tensor that it makes."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class PeakMemory(TorchDispatchMode):
    """``with PeakMemory() as peak: ...``; then ``peak.bytes`` is the most that new tensors took together."""

    def __init__(self):
        super().__init__()
        self.now = self.bytes = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {t.untyped_storage()._cdata for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage(), before)
        return result

    def _watch(self, storage, before):
        key = storage._cdata
        if key in self.known or key in before:
            return
        size = storage.nbytes()
        self.known.add(key)
        self.now += size
        self.bytes = max(self.bytes, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self.known.discard(key)
        self.now -= size

"""A model that loads while its callers already work, and one copy of it for everybody.

It promises that loading starts at once, that nobody gets half a model, and that one folder is in memory once per
process, however many agents play in it. It does not know what is loaded: ``load`` may return any TextGenerator.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import Conversation

__all__ = ["BackgroundGenerator", "LoadError", "shared_generator"]

_logger = logging.getLogger(__name__)

_SHARED: dict[str, BackgroundGenerator] = {}
_SHARED_OPTIONS: dict[str, dict[str, Any]] = {}
_REGISTRY_LOCK = threading.Lock()


class LoadError(RuntimeError):
    """A background load that failed; the reason is its ``__cause__``."""


class BackgroundGenerator:
    """A TextGenerator whose model is loaded by a daemon thread, started by the constructor.

    Calls wait until the model is there and then run one after another, whichever threads they come from.
    """

    def __init__(self, load: Callable[[], TextGenerator], *, name: str) -> None:
        """Start ``load`` in the background; ``name`` appears in logs, errors and the thread's name."""
        self.name = name
        self._load = load
        self._generator: TextGenerator | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._turn = threading.Lock()
        threading.Thread(target=self._run, name=f"load {name}", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded (False while it loads and after a failure)."""
        return self._generator is not None

    @property
    def error(self) -> BaseException | None:
        """What ended the load, if it failed."""
        return self._error

    def wait(self, seconds: float | None = None) -> bool:
        """Wait at most ``seconds`` (None: for ever) for the end of the load; return whether the model is ready."""
        self._ended.wait(seconds)
        return self.ready

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return one reply per conversation.

        ``settings.time_limit`` counts from the call: waiting for the load and for other callers is part of it, and
        when it is over before the model's turn came, every reply is ``""``.

        Raises:
            LoadError: the load failed.
        """
        settings = settings or GenerationSettings()
        if settings.time_limit is None:
            generator = self._loaded()
            with self._turn:
                return generator.generate(conversations, settings)
        deadline = time.monotonic() + settings.time_limit
        if not self._ended.wait(settings.time_limit):
            return [""] * len(conversations)
        generator = self._loaded()
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return [""] * len(conversations)
        try:
            left = deadline - time.monotonic()
            if left <= 0:
                return [""] * len(conversations)
            return generator.generate(conversations, dataclasses.replace(settings, time_limit=left))
        finally:
            self._turn.release()

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) per conversation, after the load and the calls before this one.

        Raises:
            LoadError: the load failed.
        """
        generator = self._loaded()
        with self._turn:
            return generator.yes_no(conversations)

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._generator = self._load()
            _logger.info("%s: ready after %.1f s", self.name, time.monotonic() - started)
        except BaseException as error:
            self._error = error
            _logger.warning("%s: could not be loaded: %s: %s", self.name, type(error).__name__, error)
        finally:
            self._ended.set()

    def _loaded(self) -> TextGenerator:
        self._ended.wait()
        if self._generator is None:
            # A new exception each time: threads that raise one and the same would extend its traceback for ever.
            raise LoadError(
                f"{self.name} could not be loaded: {type(self._error).__name__}: {self._error}"
            ) from self._error
        return self._generator


def shared_generator(
    path: str | os.PathLike[str], *, load: Callable[[], TextGenerator] | None = None, **options: Any
) -> BackgroundGenerator:
    """Return the one generator of this process for the model folder at ``path``; the first call starts its load.

    Args:
        path: a model folder; links and relative paths to one folder are one folder.
        load: makes the generator; :meth:`HFGenerator.from_folder` with ``options`` when None.
        options: for ``from_folder``. They count only in the call that starts the load; a later call with other
            options gets the same generator, and a warning is logged.

    A load that failed is tried again by the next call.
    """
    key = str(Path(path).expanduser().resolve())

    def from_folder() -> TextGenerator:
        from kaggle_utils.inference.generation import HFGenerator

        return HFGenerator.from_folder(path, **options)

    with _REGISTRY_LOCK:
        found = _SHARED.get(key)
        if found is None or found.error is not None:
            _SHARED_OPTIONS[key] = options
            _SHARED[key] = found = BackgroundGenerator(load or from_folder, name=os.fspath(path))
        elif options != _SHARED_OPTIONS[key]:
            _logger.warning("%s is already in memory with options %s; %s ignored", path, _SHARED_OPTIONS[key], options)
        return found

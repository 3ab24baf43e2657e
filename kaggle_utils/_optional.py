"""The one door to optional packages.

It promises a clear error when a package is absent and the real error when the package is there but broken. It does
not know which versions work: the floors live in setup.cfg.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, *, extra: str) -> ModuleType:
    """Return ``module``; if it is absent, say which extra installs it.

    Raises:
        ModuleNotFoundError: the package is not installed. A package that is installed but fails to import one of its
            own dependencies raises its own error, unchanged.

    >>> require("json", extra="llm").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not (module == missing or module.startswith(missing + ".")):  # installed, but broken inside
            raise
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{module!r} is needed here and is not installed. Online: pip install 'kaggle-notebook-utils[{extra}]'. "
            f"Offline on Kaggle: attach a dataset of wheels and run "
            f"pip install --no-index --find-links /kaggle/input/<wheel dataset> {package}",
            name=missing,
        ) from error

"""Import every public module of our packages; a program that runs in the environment under test.

python -I importing.py PACKAGE...    # prints {"imported": n, "failed": {module: [missing top package or "", error]}}
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

__all__ = ["import_all"]


def import_all(packages: list[str]) -> dict:
    """Return how many modules imported, and for each other one what it lacks and what it said."""
    imported, failed = 0, {}
    for name in _modules(packages):
        try:
            importlib.import_module(name)
            imported += 1
        except ModuleNotFoundError as error:  # noqa: PERF203 - the point of the loop
            failed[name] = [(error.name or "").partition(".")[0], str(error).partition("\n")[0]]
        except Exception as error:
            failed[name] = ["", f"{type(error).__name__}: {error}"]
    return {"imported": imported, "failed": failed}


def _modules(packages: list[str]) -> list[str]:
    found = list(packages)
    for package in packages:
        try:
            path = importlib.import_module(package).__path__
        except Exception:
            continue  # import_all says it
        found += [module.name for module in pkgutil.walk_packages(path, f"{package}.", onerror=lambda name: None)]
    public = [name for name in found if not any(part.startswith("_") for part in name.split("."))]
    return [name for name in public if ".templates" not in name]


if __name__ == "__main__":
    print(json.dumps(import_all(sys.argv[1:])))

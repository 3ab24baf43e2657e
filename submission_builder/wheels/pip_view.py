"""Run this machine's pip as another machine would: with its packages and markers. A program, not a library.

pip's own --python-version and --platform choose wheels, yet it still looks at the packages beside itself, and evaluates
markers with the Python it runs on (pip issue 11664). Here it sees only the folder of packages it is given:

    python -I -S pip_view.py PIP_PARENT PACKAGES MARKERS_JSON ARGUMENTS...
"""

from __future__ import annotations

import json
import sys
from importlib.machinery import PathFinder

__all__ = ["main"]


def main(parent: str, packages: str, markers_json: str, *arguments: str) -> int:
    """Run pip; returns its exit status."""

    class _PipOnly:
        @staticmethod
        def find_spec(fullname, path=None, target=None):
            return PathFinder.find_spec(fullname, [parent], target) if fullname == "pip" else None

    sys.meta_path.insert(0, _PipOnly)
    sys.path = [entry for entry in sys.path if entry != parent] + [packages]
    from pip._vendor.packaging import markers

    seen = {**markers.default_environment(), **json.loads(markers_json)}
    markers.default_environment = lambda: dict(seen)
    from pip._internal.cli import cmdoptions
    from pip._internal.cli.main import main as pip_main

    # Before 24, pip asks for --target beside --platform, even in a dry run; and with --target it sees no packages.
    check = cmdoptions.check_dist_restriction
    cmdoptions.check_dist_restriction = lambda options, check_target=False: check(options)
    return pip_main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""``python -m submission_builder``: the same as the ``submission-builder`` command."""

from __future__ import annotations

import sys

from submission_builder.cli import main

__all__ = []

if __name__ == "__main__":
    sys.exit(main())

"""Pack main.py, helpers and model weights into a submission.tar.gz that works the first time.

Three verbs, each a function and a sub-command of ``submission-builder``: ``plan.make_plan`` says what would go in, how
large it gets and everything that is wrong; ``archive.build_archive`` streams it into one deterministic gzip file;
``verify.verify_archive`` plays whole games with the result. Nothing here imports ``kaggle_utils``: it is copied as
files.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"

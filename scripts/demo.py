#!/usr/bin/env python3
"""``make demo``: from nothing to a verified submission.tar.gz that plays, and a replay to look at.

Packs the ready agent with a small real LLM, and once more without it, plays whole games of the real
``llm_20_questions`` environment with each archive the way Kaggle does, and writes one HTML page per game.
Everything lands in ``demo/``. Exit status 0 only if both archives are sound and win at least 9 of 10 games.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from small_model import small_model  # noqa: E402

from kaggle_utils.q20.record import GameRecord  # noqa: E402
from kaggle_utils.q20.replay import with_posterior, write_html  # noqa: E402
from submission_builder.archive import build_archive  # noqa: E402
from submission_builder.plan import make_plan  # noqa: E402
from submission_builder.template import template_main  # noqa: E402
from submission_builder.verify import VerifyReport, verify_archive  # noqa: E402


def build_and_play(folder: Path, *, model: Path | None, games: int) -> VerifyReport:
    """Pack the agent into ``folder``, play ``games`` games with it, write the replays; returns the report."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(
        template_main(),
        include={"model": model} if model else {},
        packages=("kaggle_utils",),
        output=folder / "submission.tar.gz",
        profile="llm-20-questions",
    )
    print(plan.to_text(), flush=True)
    build_archive(plan)
    report = verify_archive(plan.output, games=games, min_wins=games - games // 10, work_dir=folder / "verify")
    print(report.to_text(), flush=True)
    for episode in sorted((folder / "verify" / "games").glob("*.json")):
        record = GameRecord.from_kaggle(json.loads(episode.read_text(encoding="utf-8")))
        write_html(with_posterior(record), folder / "replays" / f"{episode.stem}.html")
    return report


def build_and_play_quietly(folder: Path, **options: Any) -> tuple[VerifyReport, str]:
    """The same without a bar; returns what it would have printed, too."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
        report = build_and_play(folder, **options)
    return report, told.getvalue()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=10, help="games per archive (default 10)")
    parser.add_argument("--output", type=Path, default=ROOT / "demo", help="folder for archives and replays")
    args = parser.parse_args()
    shutil.rmtree(args.output, ignore_errors=True)

    print("== a small real LLM", flush=True)
    model = small_model()
    print("\n== with-llm: plan, build, verify (rules-only goes on beside it)", flush=True)
    # A game is played a seat at a time, so that two archives side by side take little longer than one.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        beside = pool.submit(build_and_play_quietly, args.output / "rules-only", model=None, games=args.games)
        reports = {"with-llm": build_and_play(args.output / "with-llm", model=model, games=args.games)}
        reports["rules-only"], told = beside.result()
    print(f"\n== rules-only: plan, build, verify\n{told}", flush=True)

    print("\n== where to look")
    for name, report in reports.items():
        folder = args.output / name
        verdict = "sound" if report.ok else "NOT sound, see above"
        print(f"  {name}: {verdict}, {report.wins} of {len(report.games)} games won")
        print(f"    archive  {folder / 'submission.tar.gz'}")
        print(f"    replays  {folder / 'replays'}/*.html")
        print(f"    games    {folder / 'verify' / 'games'}/*.json")
    return 0 if all(report.ok for report in reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Play a submission archive the way Kaggle will, before Kaggle does.

``verify_archive`` unpacks it into an empty folder, reads main.py, and plays whole games by self-play in the real
``llm_20_questions`` environment: a fresh process per seat behind the environment's own HTTP server, the environment
imported first, another working directory, no network, no notebook folders, a memory cap and Kaggle's clock with the
loading of the model in it. It does not know how strong the agent is against others, and a seat's GPU memory is not
capped: four seats share the GPUs and the cores of this machine (half of the cores each, as two seats compute at a
time), while on Kaggle each has its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm.auto import tqdm

from submission_builder.lint import lint_main
from submission_builder.linting.problem import Problem, errors_in
from submission_builder.playing.match import MatchSpec
from submission_builder.playing.report import GameResult, ProbeResult, VerifyReport
from submission_builder.playing.seats import interpreter
from submission_builder.playing.unpack import Unpacked, unpack_archive

__all__ = ["verify_archive"]

# What a container has; tokens, caches, proxies and settings of the notebook stay behind. Nothing like HF_HUB_OFFLINE is
# set for the agent, since Kaggle sets nothing: code that tries the network must fail here as it will there.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")
_STEPS = 61
_END_SECONDS = 20.0


def verify_archive(
    archive: str | os.PathLike,
    *,
    keywords: Sequence[str] | None = None,
    games: int | None = None,
    act_timeout: float = 60.0,
    overage: float = 300.0,
    memory_limit: int = 16 * 2**30,
    min_wins: int = 0,
    work_dir: str | os.PathLike | None = None,
    progress: bool = True,
    probe: bool = True,
    seed: int = 0,
    heavy_imports: bool = True,
    start: str = "auto",
    isolation: str = "auto",
) -> VerifyReport:
    """Verify a submission.tar.gz; see the module's docstring for how.

    Args:
        archive: the file.
        keywords: one game for each; the environment's category and alternatives are used for words that it knows.
        games: at least so many games, further keywords drawn from the environment's list (default: one for each
            keyword, or two).
        act_timeout: seconds a turn.
        overage: seconds beyond that for a seat's whole game.
        memory_limit: bytes of memory (anonymous, so without pages of mapped files) at which a seat is killed.
        min_wins: games in which the keyword must be found for ``ok``.
        work_dir: for the unpacked archive (removed at the end) and ``games/NN-keyword.json`` (kept); default: a new
            folder in the temporary directory.
        progress: show progress bars.
        probe: also ask single free-form turns, so that the model is used even if self-play does not need it.
        seed: of the random keywords.
        heavy_imports: False leaves out torch, transformers and pandas before main.py: faster, less faithful.
        start: how seats start: "fork", "spawn", or "auto" (fork where there is no GPU).
        isolation: "auto" uses namespaces where the system allows them; "python" never does.

    Returns:
        A report; its ``ok`` says whether to submit. A bad archive is a report, not an exception.

    Raises:
        ValueError: settings that make no sense.
        FileNotFoundError: no such archive.
        ModuleNotFoundError: kaggle-environments is not installed, or too new.
        OSError: no space to unpack it.
    """
    source = Path(archive)
    words = tuple(keywords or ())
    wanted = max(games if games is not None else (0 if words else 2), len(words))
    _check_settings(words, wanted, act_timeout, overage, memory_limit, start, isolation)
    _check_environment()
    home = Path(work_dir) if work_dir is not None else Path(tempfile.mkdtemp(prefix="submission-verify-"))
    home.mkdir(parents=True, exist_ok=True)
    with _temporary(home, "agent-") as agent, _temporary(None, "seats-") as scratch:
        unpacked = _unpack(source, agent, progress)
        report = _static_report(source, unpacked, min_wins)
        if errors_in(p for p in report.found if p.where == "archive") or "main.py" not in unpacked.files:
            return report
        limits = {"act_timeout": act_timeout, "overage": overage, "memory": memory_limit}
        spec = MatchSpec(
            str(agent),
            str(scratch),
            -1,
            words,
            wanted,
            seed,
            act_timeout,
            overage,
            memory_limit,
            heavy_imports,
            start,
            isolation,
            probe,
        )
        report = _play(replace(report, limits=limits), spec, home / "games", progress)
        return replace(report, found=(*report.found, *_written_files(unpacked)))


def _check_settings(words, games, act_timeout, overage, memory_limit, start, isolation) -> None:
    wrong = [f"keyword {word!r} is empty" for word in words if not word.strip()]
    wrong += [] if games > 0 else [f"games={games} plays nothing"]
    wrong += [] if act_timeout > 0 else [f"act_timeout={act_timeout} is not positive"]
    wrong += [] if overage >= 0 else [f"overage={overage} is negative"]
    wrong += [] if memory_limit > 0 else [f"memory_limit={memory_limit} is not positive"]
    wrong += [] if start in ("auto", "fork", "spawn") else [f"start={start!r}; expected 'auto', 'fork' or 'spawn'"]
    wrong += [] if isolation in ("auto", "python") else [f"isolation={isolation!r}; expected 'auto' or 'python'"]
    if wrong:
        raise ValueError("cannot verify:\n" + "\n".join(f"  - {line}" for line in wrong))


def _check_environment() -> None:
    spec = importlib.util.find_spec("kaggle_environments")
    found = Path(spec.origin).parent if spec and spec.origin else None
    if found is None or not (found / "envs/llm_20_questions/llm_20_questions.py").is_file():
        state = "is not installed" if found is None else f"at {found} has no llm_20_questions (removed after 1.18.0)"
        raise ModuleNotFoundError(
            f"kaggle-environments {state}, and games are played in it: pip install --no-deps "
            "kaggle-environments==1.18.0 and pip install 'kaggle-notebook-utils[game]'",
            name="kaggle_environments",
        )


@contextlib.contextmanager
def _temporary(parent: Path | None, prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(source: Path, agent: Path, progress: bool) -> Unpacked:
    with tqdm(total=source.stat().st_size, unit="B", unit_scale=True, desc="unpack", disable=not progress) as bar:
        return unpack_archive(source, agent, progress=bar.update)


def _static_report(source: Path, unpacked: Unpacked, min_wins: int) -> VerifyReport:
    found = list(unpacked.problems)
    main = unpacked.folder / "main.py"
    if main.is_file():
        try:
            found += lint_main(main.read_text(encoding="utf-8"), siblings=unpacked.siblings)
        except UnicodeDecodeError as error:
            found.append(Problem("main.py", "error", f"is not UTF-8 ({error})", "save it as UTF-8"))
    found += _missing_packages(unpacked)
    return VerifyReport(
        str(source),
        source.stat().st_size,
        unpacked.size,
        len(unpacked.files),
        unpacked.tar_sha256,
        {},
        tuple(found),
        min_wins=min_wins,
    )


def _missing_packages(unpacked: Unpacked) -> list[Problem]:
    """A model that bitsandbytes stored needs it to load, and nobody promises that Kaggle's agents have it."""
    if any(name.startswith("bitsandbytes/") for name in unpacked.files):
        return []
    configs = [name for name in unpacked.files if name.endswith("config.json")]
    text = {name: (unpacked.folder / name).read_text(encoding="utf-8", errors="replace") for name in configs}
    wanting = [name for name in configs if '"bitsandbytes"' in text[name]]
    message = "is stored by bitsandbytes, which is not in the archive; verify plays with the one that is installed here"
    fix = 'packages=["kaggle_utils", "bitsandbytes", "accelerate"]'
    return [Problem(name, "warning", message, fix) for name in wanting]


def _play(report: VerifyReport, spec: MatchSpec, episodes: Path, progress: bool) -> VerifyReport:
    """Run the playing process and gather what it says."""
    scratch, (reading, writing) = Path(spec.scratch), os.pipe()
    settings = scratch / "match.json"
    settings.write_text(json.dumps(asdict(replace(spec, events=writing))), encoding="utf-8")
    surroundings = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    surroundings["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // 2))  # two seats compute at a time here
    with (scratch / "match.log").open("wb") as log, os.fdopen(reading, encoding="utf-8") as events:
        try:
            process = subprocess.Popen(
                [*interpreter("submission_builder.playing.match"), str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=surroundings,
                cwd=scratch,
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            with tqdm(total=spec.games * _STEPS, unit="step", desc="verify", disable=not progress) as bar:
                report, complete = _collect(report, events, episodes, bar)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)  # it ends its seats
            if not complete:
                said = (scratch / "match.log").read_text(encoding="utf-8", errors="replace").strip()
                problem = Problem(
                    "match",
                    "error",
                    f"the playing process ended early (exit status {process.returncode}): {said[-1500:]}",
                    "see the message; start='spawn' or isolation='python' may help",
                )
                report = replace(report, found=(*report.found, problem))
            return report
        finally:
            process.kill()  # the kernel ends the seats with it
            process.wait()


def _collect(report: VerifyReport, events, episodes: Path, bar: tqdm) -> tuple[VerifyReport, bool]:
    for line in events:
        event = json.loads(line)
        kind = event.pop("kind")
        if kind == "done":
            return report, True
        if kind == "note":
            bar.set_postfix_str(event["text"])
        elif kind == "step":
            bar.n = max(bar.n, len(report.games) * _STEPS + event["step"])
            bar.refresh()
        elif kind == "isolation":
            report = replace(report, isolation=event)
        elif kind == "probes":
            problems = [Problem(**values) for values in event["problems"]]
            probes = tuple(ProbeResult(**values) for values in event["results"])
            report = replace(report, probes=probes, found=(*report.found, *problems))
        elif kind == "game":
            game = replace(GameResult.from_dict(event["result"]), path=str(_keep(Path(event["path"]), episodes)))
            report = replace(report, games=(*report.games, game))
            bar.n = len(report.games) * _STEPS
            bar.refresh()
    return report, False


def _keep(episode: Path, folder: Path) -> Path:
    """Move an episode to where it stays; readers see all of it or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / episode.name
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(episode, partial)
    partial.replace(target)
    return target


def _written_files(unpacked: Unpacked) -> list[Problem]:
    new = ", ".join(unpacked.new_files()[:5])
    message = f"wrote {new} beside itself; on Kaggle each seat has a folder of its own"
    return [Problem("main.py", "warning", message, "keep state in memory")] if new else []

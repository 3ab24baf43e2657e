"""Build one archive of realistic bf16 weights with this package and with the notebook's tar + pigz command, in turns.

    python benchmarks/archive.py            # 1 GB, 3 rounds
    python benchmarks/archive.py --quick    # 0.25 GB, 2 rounds

CPU time is user + system of the whole process tree; ours includes starting Python, the plan, the progress bar, and the
SHA-256 of every file and of the tar. Figures are medians over the rounds. The last line is one JSON object; ratios are
the baseline's figure divided by ours, so larger is better.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _report import ROOT, benchmark_parser, save

MAIN = 'def agent(obs, cfg):\n    return "no"\n'


@dataclass(frozen=True)
class Run:
    """One build: seconds of CPU and of wall clock, bytes, peak memory of its largest process in MB."""

    cpu: float
    wall: float
    size: int
    rss_mb: float


def measure(command: list[str], output: Path) -> Run:
    """Run ``command``, which writes ``output``, and wait for its whole process tree."""
    output.unlink(missing_ok=True)
    os.sync()  # what an earlier run left unwritten is not this one's burden
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not output.exists():
            log.seek(0)
            sys.exit(f"{command[0]} failed ({process.returncode}):\n{log.read().decode(errors='replace')[-2000:]}")
    return Run(usage.ru_utime + usage.ru_stime, wall, output.stat().st_size, usage.ru_maxrss * 1024 / 1e6)


def pigz_command(staged: Path, output: Path) -> tuple[list[str], str]:
    """The notebook's command line over the staged folder; without ``pv`` where that is not installed."""
    missing = [tool for tool in ("tar", "pigz") if not shutil.which(tool)]
    if missing:
        sys.exit(f"the baseline needs {' and '.join(missing)}: apt-get install pigz pv")
    program = "pigz --fast --recursive | pv" if shutil.which("pv") else "pigz --fast"
    return ["tar", f"--use-compress-program={program}", "-cf", str(output), "-C", str(staged), "."], program


def our_command(staged: Path, output: Path) -> list[str]:
    """The same files through ``submission-builder build``, hashing on."""
    return [sys.executable, "-m", "submission_builder", "build", "--main", str(staged / "main.py"),
            "--include", f"model={staged / 'model'}", "--output", str(output), "--profile", "none"]  # fmt: skip


def show(number: int, who: str, run: Run, size: int) -> None:
    """One line for one run."""
    cpu, speed = f"{run.cpu / size * 1e9:6.2f} CPU-s/GB", f"{size / run.wall / 1e6:6.1f} MB/s"
    print(f"round {number + 1}  {who:38} {cpu} {speed}  ratio {run.size / size:.4f} {run.rss_mb:6.1f} MB", flush=True)


def check_same(output: Path, staged: Path) -> None:
    """The archive that was timed holds the weights, to the bit."""
    digest, weights = hashlib.sha256(), hashlib.sha256()
    command = ["tar", "xzOf", str(output), "model/model.safetensors"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while block := process.stdout.read(1 << 20):
            digest.update(block)
    with (staged / "model" / "model.safetensors").open("rb") as file:
        while block := file.read(1 << 20):
            weights.update(block)
    if digest.digest() != weights.digest():
        sys.exit("the archive does not hold the weights that went in")


def stage(folder: Path, size: int) -> Path:
    """main.py and the weights, made by another process so that this one stays small (its memory would be inherited)."""
    staged = folder / "submission"
    (staged / "model").mkdir(parents=True)
    (staged / "main.py").write_text(MAIN)
    command = [sys.executable, str(ROOT / "benchmarks" / "_weights.py"), str(staged / "model"), "--bytes", str(size)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return staged


def figures_of(ours: list[Run], theirs: list[Run]) -> dict[str, float]:
    """The ratios of medians, and the largest memory that any of our runs took."""

    def ratio(key: str) -> float:
        return statistics.median(getattr(r, key) for r in theirs) / statistics.median(getattr(r, key) for r in ours)

    return {
        "cpu_ratio_vs_pigz": round(ratio("cpu"), 2),
        "wall_ratio_vs_pigz": round(ratio("wall"), 2),
        "size_ratio_vs_pigz": round(ratio("size"), 4),
        "peak_rss_mb": round(max(run.rss_mb for run in ours), 1),
    }


def main() -> None:
    """Measure, print, and save a full run."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="disk to work on (default: the temporary folder)")
    args = parser.parse_args()
    size, rounds = (250_000_000, 2) if args.quick else (1_000_000_000, 3)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        staged = stage(folder, size)
        baseline, program = pigz_command(staged, folder / "pigz.tar.gz")
        ours, theirs = [], []
        for number in range(rounds):
            theirs.append(measure(baseline, folder / "pigz.tar.gz"))
            ours.append(measure(our_command(staged, folder / "ours.tar.gz"), folder / "ours.tar.gz"))
            show(number, f"tar with {program}", theirs[-1], size)
            show(number, "submission-builder", ours[-1], size)
        check_same(folder / "ours.tar.gz", staged)
    figures = figures_of(ours, theirs)
    if not args.quick:
        headline = (
            f"{figures['cpu_ratio_vs_pigz']} x less CPU, {figures['wall_ratio_vs_pigz']} x faster, "
            f"{figures['size_ratio_vs_pigz']} x the size ratio, {figures['peak_rss_mb']} MB of memory "
            f"(1 GB bf16, baseline tar with {program.replace('|', 'to')})"
        )
        runs = {"ours": [vars(run) for run in ours], "pigz": [vars(run) for run in theirs], "bytes": size}
        save("archive", figures, headline=headline, packages=("isal", "numpy", "tqdm"), details=runs)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

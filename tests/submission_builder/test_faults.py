"""Real faults: a full disk, a file-size limit, kill -9, Ctrl-C, sources that change. Never a truncated archive."""

import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from archive_sources import write_sources

from submission_builder.archive import BuildError, build_archive
from submission_builder.packing.partial_file import PartialFile, partial_path
from submission_builder.packing.tar_stream import SourceChangedError
from submission_builder.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
OLD = b"old archive"
BUILD = """
import resource, sys
if sys.argv[4] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
from submission_builder.plan import make_plan
from submission_builder.archive import build_archive
plan = make_plan(sys.argv[1], include={"model": sys.argv[2]}, output=sys.argv[3])
print("planned", flush=True)
build_archive(plan, progress=False)
print("built", flush=True)
"""


@pytest.fixture
def arguments(tmp_path):
    """Sources of about 60 MB, so that there is a middle of the build to fail in, and an old archive."""
    found = write_sources(tmp_path)
    for i in range(3):
        (tmp_path / "sources" / "model" / f"noise{i}.dat").write_bytes(np.random.default_rng(i).bytes(18_000_000))
    found["output"].write_bytes(OLD)
    return found


def command(arguments, *, file_limit=0) -> list[str]:
    paths = (arguments["main"], arguments["include"]["model"], arguments["output"])
    return [sys.executable, "-c", BUILD, *map(str, paths), str(file_limit)]


def assert_complete(archive: Path) -> None:
    with tarfile.open(archive, "r|gz") as tar:
        names = [member.name for member in tar]
    assert names[-1] == "MANIFEST.json"


def test_full_disk(arguments, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a tmpfs needs root")
    try:
        target = disk / "submission.tar.gz"
        target.write_bytes(OLD)
        plan = make_plan(**{**arguments, "output": tmp_path / "elsewhere.tar.gz"})
        plan = plan.__class__(**{**vars(plan), "output": target})  # as if the disk had filled after the plan
        with pytest.raises(BuildError, match="No space left on device"):
            build_archive(plan, progress=False)
        assert target.read_bytes() == OLD
        assert [p.name for p in disk.iterdir()] == ["submission.tar.gz"]
        assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "deflate" in t.name]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_file_size_limit(arguments):
    done = subprocess.run(
        command(arguments, file_limit=9_000_000), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert arguments["output"].read_bytes() == OLD
    assert not partial_path(arguments["output"]).exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_kill_leaves_the_old_archive_or_the_new_one(arguments, share):
    output, partial = arguments["output"], partial_path(arguments["output"])
    process = subprocess.Popen(command(arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "planned\n"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if partial.exists() and partial.stat().st_size >= share * 55_000_000:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    if output.read_bytes() != OLD:
        assert_complete(output)
    subprocess.run(command(arguments), check=True, capture_output=True, cwd=ROOT)
    assert_complete(output)
    assert not partial.exists(), "the next run cleans up after the killed one"


def test_ctrl_c_removes_the_partial_file(arguments):
    partial = partial_path(arguments["output"])
    process = subprocess.Popen(command(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "planned\n"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 5_000_000):
        pass
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    if "built" in output:
        pytest.skip("the build was faster than the signal")
    assert "KeyboardInterrupt" in error
    assert arguments["output"].read_bytes() == OLD
    assert not partial.exists()


@pytest.mark.parametrize("change", ["shrink", "grow", "rewrite"])
def test_source_that_changes_while_it_is_read(arguments, monkeypatch, change):
    """The change happens after the first megabyte of the file was taken."""
    plan = make_plan(**arguments)
    victim = next(file for file in plan.files if file.name == "model/noise1.dat")
    from submission_builder import archive

    changed = []

    def advance(bar, count, written):
        if bar.n > 19_500_000 and not changed:
            changed.append(True)
            with victim.source.open("r+b") as file:
                if change == "shrink":
                    file.truncate(victim.size - 10_000_000)
                else:
                    file.seek(-5 if change == "rewrite" else 0, os.SEEK_END)
                    file.write(b"12345")
        bar.update(count)

    monkeypatch.setattr(archive, "_advance", advance)
    with pytest.raises(SourceChangedError, match=r"noise1\.dat changed while it was packed"):
        build_archive(plan)
    assert changed
    assert arguments["output"].read_bytes() == OLD
    assert not partial_path(arguments["output"]).exists()


def test_two_builds_of_one_archive(arguments):
    plan = make_plan(**arguments)
    with PartialFile(plan.output) as other:
        other.write(b"in progress")
        with pytest.raises(BuildError, match="another build is writing this file"):
            build_archive(plan, progress=False)
        assert partial_path(plan.output).read_bytes() == b"in progress", "the other build's bytes are left alone"
    assert plan.output.read_bytes() == OLD
    build_archive(plan, progress=False)
    assert_complete(plan.output)


def test_rubbish_of_a_killed_run_is_not_mixed_in(arguments):
    partial_path(arguments["output"]).write_bytes(os.urandom(70_000_000))
    plan = make_plan(**arguments)
    report = build_archive(plan, progress=False)
    assert plan.output.stat().st_size == report.size
    assert_complete(plan.output)
    assert not partial_path(plan.output).exists()


def test_output_folder_that_vanished(arguments, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    plan = make_plan(**{**arguments, "output": gone / "submission.tar.gz"})
    gone.rmdir()
    with pytest.raises(BuildError, match="No such file"):
        build_archive(plan, progress=False)


def test_limits_of_this_process_are_untouched():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY

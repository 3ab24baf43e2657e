"""The archive: opens everywhere, same input same bytes, sizes as planned, digests that can be checked."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from archive_sources import MAIN, bf16_bytes, write_safetensors, write_sources

from submission_builder.archive import BuildError, build_archive
from submission_builder.packing.manifest import MANIFEST_NAME
from submission_builder.packing.tar_stream import SourceChangedError, tar_header
from submission_builder.plan import make_plan
from submission_builder.profiles import custom_profile


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def built(tmp_path):
    plan = make_plan(**write_sources(tmp_path))
    return plan, build_archive(plan, progress=False)


@pytest.fixture
def expected(built):
    return {file.name: file.source.read_bytes() for file in built[0].files}


def unpack_with_tarfile(mode):
    def unpack(archive, target):
        with tarfile.open(archive, mode) as tar:
            tar.extractall(target, filter="data")

    return unpack


def unpack_with_gnu_tar(archive, target):
    if not shutil.which("tar"):
        pytest.skip("no tar here")
    subprocess.run(["tar", "xzf", str(archive), "-C", str(target)], check=True)


UNPACKERS = {
    "r:gz": unpack_with_tarfile("r:gz"),
    "r|gz": unpack_with_tarfile("r|gz"),
    "r|*": unpack_with_tarfile("r|*"),
    "GNU tar": unpack_with_gnu_tar,
}


@pytest.mark.parametrize("unpack", UNPACKERS.values(), ids=UNPACKERS)
def test_opens_everywhere(tmp_path, built, expected, unpack):
    target = tmp_path / "unpacked"
    target.mkdir()
    unpack(built[1].path, target)
    found = contents(target)
    found.pop(MANIFEST_NAME)
    assert found == expected


def test_sizes_and_digests_are_those_of_the_file(built):
    plan, report = built
    raw = report.path.read_bytes()
    tar = gzip.decompress(raw)
    assert report.size == len(raw) <= plan.stored_size
    assert report.size == pytest.approx(plan.predicted_size, rel=0.02)
    assert report.sha256 == hashlib.sha256(raw).hexdigest()
    assert (len(tar), hashlib.sha256(tar).hexdigest()) == (plan.tar_size, report.tar_sha256)
    with tarfile.open(report.path) as opened:
        assert sum(member.size for member in opened) == report.unpacked_size == plan.unpacked_size
    assert json.loads(report.to_json())["size"] == report.size
    assert report.tar_sha256 in report.to_text()


def test_manifest_describes_the_rest(built):
    plan, report = built
    tar = gzip.decompress(report.path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert opened.getnames()[-1] == MANIFEST_NAME, "written last"
        manifest = json.load(opened.extractfile(MANIFEST_NAME))
        for entry in manifest["files"]:
            data = opened.extractfile(entry["name"]).read()
            assert (entry["size"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    before = manifest["tar_before_manifest"]
    assert before["sha256"] == hashlib.sha256(tar[: before["bytes"]]).hexdigest()
    assert manifest["settings"] == {"include": ["model"], "packages": [], "exclude": []}
    assert [entry["name"] for entry in manifest["files"]] == [file.name for file in plan.files]
    assert str(plan.output.parent) not in json.dumps(manifest), "no local path"


@pytest.mark.parametrize("compress", ["never", "auto", "always"])
def test_stored_size_is_exact_or_a_bound(tmp_path, compress):
    plan = make_plan(**write_sources(tmp_path), compress=compress)
    report = build_archive(plan, progress=False)
    if compress == "never":
        assert report.size == plan.predicted_size == plan.stored_size
    else:
        assert report.size < plan.stored_size


def test_same_input_same_bytes(tmp_path):
    """Another folder, other times, owners' modes and listing order, another thread count: equal files."""
    digests = set()
    for run, threads in enumerate((1, 2, 4)):
        arguments = write_sources(tmp_path / f"run{run}")
        for path in (tmp_path / f"run{run}").rglob("*"):
            if path.is_file():
                path.chmod(random.choice([0o600, 0o644, 0o666]))
                os.utime(path, (run * 10**8, run * 10**8))
        report = build_archive(make_plan(**arguments), progress=False, threads=threads)
        digests.add((report.sha256, report.tar_sha256, report.size))
    assert len(digests) == 1


def test_tar_digest_does_not_depend_on_compression_or_hashing(tmp_path):
    arguments = write_sources(tmp_path)
    reports = [build_archive(make_plan(**arguments, compress=c), progress=False) for c in ("auto", "never")]
    assert reports[0].tar_sha256 == reports[1].tar_sha256
    assert reports[0].size < reports[1].size
    with pytest.raises(BuildError, match="no longer the archive that was built here"):
        _ = reports[0].sha256
    unhashed = build_archive(make_plan(**arguments, compress="never"), progress=False, hash=False)
    assert (unhashed.size, unhashed.tar_sha256) == (reports[1].size, None)
    with tarfile.open(unhashed.path) as opened:
        assert json.load(opened.extractfile(MANIFEST_NAME))["files"][0]["sha256"] is None


def test_known_bytes():
    """The header of one member, byte for byte as GNU tar's --format=posix would have it; pins the format."""
    header = tar_header("main.py", 5, 0o644)
    info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (info.name, info.size, info.mode, info.mtime, info.uid, info.gid) == ("main.py", 5, 0o644, 0, 0, 0)
    assert hashlib.sha256(header).hexdigest() == "8fbe97bdc57037b8bcdd32a2496a27e005e26963dfb82898710710cfec24c741"


def test_long_and_foreign_names_and_modes(tmp_path):
    names = ["a" * 99, "b" * 100, "c" * 101, "d/" * 60 + "deep", "ключ/слово.txt", "with space", "e" * 250]
    source = tmp_path / "in"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "b").with_name("b" * 100).chmod(0o755)
    main = tmp_path / "m.py"
    main.write_text(MAIN)
    plan = make_plan(main, include={".": source}, output=tmp_path / "s.tar.gz", compress="never")
    report = build_archive(plan, progress=False)
    assert report.size == plan.stored_size
    for unpack in (unpack_with_tarfile("r|gz"), unpack_with_gnu_tar):
        target = tmp_path / f"out{unpack.__name__}"
        target.mkdir()
        unpack(report.path, target)
        assert {name: (target / name).read_text() for name in names} == {name: name for name in names}
        assert os.access(target / ("b" * 100), os.X_OK)
        assert not (target / ("a" * 99)).stat().st_mode & 0o111


def test_more_than_eight_gib_is_declared_in_a_pax_record():
    size = 9 * 2**30
    with tarfile.open(fileobj=io.BytesIO(tar_header("model/weights", size, 0o644)), mode="r|") as opened:
        member = opened.next()
    assert (member.name, member.size) == ("model/weights", size)


@pytest.mark.parametrize("seed", range(6))
def test_random_trees_come_back(tmp_path, seed):
    chance = random.Random(seed)
    for i in range(chance.randint(1, 30)):
        path = (
            tmp_path
            / "in"
            / "/".join(chance.choice("abc") * chance.randint(1, 9) + "_" for _ in range(chance.randint(1, 3)))
        )
        path = path / f"file{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = chance.choice([0, 1, 511, 512, 513, 65535, 65536, 1_048_560, 1_048_561, 2_200_000])
        noise = chance.random() < 0.5
        path.write_bytes(np.random.default_rng(seed * 100 + i).bytes(size) if noise else (b"%d," % i * size)[:size])
    main = tmp_path / "m.py"
    main.write_text(MAIN)
    plan = make_plan(main, include={"in": tmp_path / "in"}, output=tmp_path / "s.tar.gz")
    report = build_archive(plan, progress=False, threads=chance.randint(1, 4))
    target = tmp_path / "out"
    target.mkdir()
    unpack_with_tarfile("r|gz")(report.path, target)
    assert contents(target / "in") == contents(tmp_path / "in")
    assert report.size <= plan.stored_size


@pytest.mark.parametrize("change", ["shrink", "grow", "touch", "delete"])
def test_a_source_changed_since_the_plan_is_refused(tmp_path, change):
    plan = make_plan(**write_sources(tmp_path))
    plan.output.write_text("old archive")
    source = next(file.source for file in plan.files if file.name.endswith("model.safetensors"))
    if change == "delete":
        source.unlink()
    else:
        data = source.read_bytes()
        source.write_bytes({"shrink": data[:-1], "grow": data + b"x", "touch": data}[change])
    with pytest.raises((SourceChangedError, BuildError), match=r"model\.safetensors"):
        build_archive(plan, progress=False)
    assert plan.output.read_text() == "old archive"
    assert not list(tmp_path.glob("*.partial"))


def test_stops_at_the_limit_when_the_prediction_was_wrong(tmp_path):
    """Weights whose sampled places compress well and whose other places do not."""
    arguments = write_sources(tmp_path)
    data = bytearray(np.random.default_rng(2).bytes(20_000_000))
    from submission_builder.packing.entropy import sample_offsets

    path = tmp_path / "sources" / "model" / "tricky.dat"
    for offset, length in sample_offsets(len(data)):
        data[offset : offset + length] = bytes(length)
    path.write_bytes(data)
    plan = make_plan(**arguments, profile=custom_profile(10_000_000))
    assert plan.warnings
    with pytest.raises(BuildError, match=r"passes the 10\.0 MB of profile 'custom'"):
        build_archive(plan, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sources"]


def test_progress_shows_bytes_and_expected_size(tmp_path, capfd):
    build_archive(make_plan(**write_sources(tmp_path)), progress=True)
    shown = capfd.readouterr().err
    assert "submission.tar.gz: 100%" in shown
    assert "ratio 0." in shown


def test_memory_does_not_grow_with_the_weights(tmp_path):
    """400 MB, half of it compressible, in a process of its own: its peak stays far below the size of the input."""
    sources = write_sources(tmp_path)
    big = tmp_path / "sources" / "model" / "big.dat"
    block = bf16_bytes(5_000_000)
    with big.open("wb") as file:
        for _ in range(20):
            file.write(block)
        file.truncate(400_000_000)
    code = (
        "import sys\nfrom submission_builder.plan import make_plan\n"
        "from submission_builder.archive import build_archive\n"
        "plan = make_plan(sys.argv[1], include={'model': sys.argv[2]}, output=sys.argv[3])\n"
        "build_archive(plan, progress=False, threads=8)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, *map(str, (sources["main"], sources["include"]["model"], sources["output"]))]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) * 1024 < 150_000_000


def test_duplicate_weights_of_a_real_snapshot_layout(tmp_path):
    """A cache folder of links into blobs, as huggingface_hub lays it out, is packed as plain files."""
    blobs = tmp_path / "models--x" / "blobs"
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    write_safetensors(blobs / "b1", bf16_bytes(1000))
    (snapshot / "model.safetensors").symlink_to("../../blobs/b1")
    main = tmp_path / "m.py"
    main.write_text(MAIN)
    report = build_archive(make_plan(main, include={"model": snapshot}, output=tmp_path / "s.tar.gz"), progress=False)
    with tarfile.open(report.path) as opened:
        assert opened.getmember("model/model.safetensors").isreg()
        assert opened.extractfile("model/model.safetensors").read() == (blobs / "b1").read_bytes()

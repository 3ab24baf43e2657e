"""Archives that a reader somewhere would refuse, or that would write elsewhere, are reported and never extracted."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time

import pytest

from submission_builder.playing.unpack import unpack_archive

MAIN = b"def agent(obs): return 'no'\n"


def member(name: str, data: bytes = MAIN, **changes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def tar_bytes(*members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(tmp_path, data: bytes):
    archive = tmp_path / "submission.tar.gz"
    archive.write_bytes(data)
    return unpack_archive(archive, tmp_path / "inner" / "agent")


def messages(result) -> str:
    return " | ".join(problem.message for problem in result.problems)


def test_good_archive_gives_files_digests_and_siblings(tmp_path):
    tar = tar_bytes(member("./main.py"), member("helper.py", b"x = 1\n"), member("lib/pkg/__init__.py", b""))
    seen = []
    archive = tmp_path / "s.tar.gz"
    archive.write_bytes(gzip.compress(tar))
    result = unpack_archive(archive, tmp_path / "agent", progress=seen.append)
    assert result.problems == []
    assert result.files["main.py"] == hashlib.sha256(MAIN).hexdigest()
    assert (result.folder / "lib/pkg/__init__.py").is_file()
    assert result.tar_sha256 == hashlib.sha256(tar).hexdigest()
    assert result.siblings == {"helper", "lib"}
    assert sum(seen) == archive.stat().st_size


@pytest.mark.parametrize("name", ["/tmp/evil.py", "../evil.py", "a/../../evil.py"])
def test_names_that_escape_are_not_written(tmp_path, name):
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("main.py"), member(name))))
    assert "outside the agent's folder" in messages(result)
    assert [p.name for p in tmp_path.rglob("evil.py")] == []


def test_links_and_devices_are_reported_and_left_out(tmp_path):
    link = member("weights.bin", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    device = member("null", b"", type=tarfile.CHRTYPE)
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("main.py"), link, device)))
    assert "is a link" in messages(result)
    assert "special file" in messages(result)
    assert sorted(p.name for p in result.folder.iterdir()) == ["main.py"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data + gzip.compress(b"more"), "more than one gzip member"),
        (lambda data: data + b"tail", "something else follow"),
        (lambda data: data[:-6], "cut off"),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:], "cannot be read"),
        (lambda data: b"PK\x03\x04 this is a zip", "cannot be read"),
        (lambda data: b"", "cut off"),
        (lambda data: gzip.compress(b"not a tar at all" * 100), "cannot be read"),
    ],
    ids=["two members", "trailing bytes", "short trailer", "truncated", "bad crc", "not gzip", "empty", "not tar"],
)
def test_damage_is_a_result_not_an_exception(tmp_path, damage, message):
    noise = hashlib.sha512(b"seed").digest() * 500  # long enough that half of the file is in mid-stream
    result = unpack(tmp_path, damage(gzip.compress(tar_bytes(member("main.py"), member("weights.bin", noise)))))
    assert message in messages(result)


def test_main_below_a_folder_is_found_and_named(tmp_path):
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("submission/main.py"))))
    assert "not at the top level; it is at 'submission/main.py'" in messages(result)


def test_same_name_twice_is_reported(tmp_path):
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("main.py"), member("./main.py", b"x"))))
    assert "in the archive twice" in messages(result)


def test_manifest_is_compared(tmp_path):
    rows = [{"name": "main.py", "sha256": "0" * 64}, {"name": "gone.bin", "sha256": "1" * 64}]
    manifest = member("MANIFEST.json", json.dumps({"files": rows}).encode())
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("main.py"), member("extra.py"), manifest)))
    assert "'main.py' differs from MANIFEST.json" in messages(result)
    assert "'gone.bin' is named in MANIFEST.json" in messages(result)
    assert "'extra.py' is not in MANIFEST.json" in messages(result)


def test_unreadable_manifest_is_reported(tmp_path):
    result = unpack(tmp_path, gzip.compress(tar_bytes(member("main.py"), member("MANIFEST.json", b"[1]"))))
    assert "MANIFEST.json cannot be read" in messages(result)


def test_zeros_inflate_in_linear_time(tmp_path):
    """A block of zeros inflates a thousandfold; cutting the inflated bytes piece by piece would copy it as often."""
    path = tmp_path / "zeros.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("model/zeros.bin")
        info.size = 200_000_000
        archive.addfile(info, _Zeros(info.size))
    began = time.process_time()
    assert unpack_archive(path, tmp_path / "agent").size == 200_000_000
    assert time.process_time() - began < 6


class _Zeros(io.RawIOBase):
    def __init__(self, size):
        self.left = size

    def read(self, count=-1):
        count = min(count, self.left)
        self.left -= count
        return bytes(count)


@pytest.mark.parametrize("names", [("model", "model/x"), ("a/b", "a"), ("a" * 300, "main.py")])
def test_names_that_no_disk_can_hold_are_reported(tmp_path, names):
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    result = unpack_archive(path, tmp_path / "agent")
    assert any("cannot be unpacked" in problem.message for problem in result.problems)

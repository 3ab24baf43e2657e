"""The gzip stream: one member, the promised size, the same bytes for any thread count, and no hanging thread."""

import gzip
import hashlib
import threading
import time
import zlib

import numpy as np
import pytest
from archive_sources import bf16_bytes

from submission_builder.packing.deflate import CHUNK_BYTES
from submission_builder.packing.gzip_stream import GzipStream, Piece, stored_gzip_size


def pack(data: bytes, *, threads: int = 2, compress=lambda index: True, pieces=()) -> bytes:
    output = []
    with GzipStream(lambda part: output.append(bytes(part)), threads=threads) as stream:
        for index, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            part = data[start : start + CHUNK_BYTES]
            buffer = stream.take_buffer()
            buffer[: len(part)] = part
            stream.submit(buffer, len(part), compress=compress(index), pieces=[Piece(d, 0, len(part)) for d in pieces])
        stream.finish()
    return b"".join(output)


DATA = bf16_bytes(2_600_000) + b"text " * 300_000 + np.random.default_rng(0).bytes(2_000_000)


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(DATA)])
def test_gives_back_the_input_as_a_single_member(length):
    data = DATA[-length:] if length else b""
    packed = pack(data)
    assert gzip.decompress(packed) == data
    one = zlib.decompressobj(31)  # stops after the first member
    assert one.decompress(packed) + one.flush() == data
    assert one.unused_data == b""


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 12345])
def test_stored_size_is_exact(length):
    packed = pack(DATA[:length], compress=lambda index: False)
    assert len(packed) == stored_gzip_size(length)
    assert gzip.decompress(packed) == DATA[:length]


def test_incompressible_data_never_passes_the_stored_size():
    noise = np.random.default_rng(5).bytes(3 * CHUNK_BYTES + 77)
    assert len(pack(noise)) <= stored_gzip_size(len(noise))


def test_bytes_do_not_depend_on_threads_and_hold_no_time():
    mixed = [pack(DATA, threads=n, compress=lambda index: index % 3 != 1) for n in (1, 2, 5)]
    assert mixed[0] == mixed[1] == mixed[2]
    assert mixed[0][:10] == bytes.fromhex("1f8b08000000000000ff")


def test_digests_see_their_pieces_in_order():
    digest = hashlib.sha256()
    pack(DATA, threads=4, pieces=[digest])
    assert digest.hexdigest() == hashlib.sha256(DATA).hexdigest()


def test_a_failing_disk_comes_out_and_leaves_no_thread():
    before = threading.active_count()
    written = []

    def write(part):
        written.append(len(part))
        if sum(written) > 2 * CHUNK_BYTES:
            raise OSError(28, "No space left on device")

    started = time.monotonic()
    with pytest.raises(OSError, match="No space left"), GzipStream(write, threads=3) as stream:
        for _ in range(100):
            stream.submit(stream.take_buffer(), CHUNK_BYTES, compress=False)
        stream.finish()
    assert time.monotonic() - started < 30
    assert threading.active_count() == before


def test_a_failing_digest_comes_out():
    class Broken:
        def update(self, data):
            raise RuntimeError("digest broke")

    with pytest.raises(RuntimeError, match="digest broke"):
        pack(DATA, pieces=[Broken()])


def test_buffers_are_bounded_when_writing_is_slow():
    seen = set()
    with GzipStream(lambda part: time.sleep(0.002), threads=2) as stream:
        for _ in range(40):
            buffer = stream.take_buffer()
            seen.add(id(buffer))
            stream.submit(buffer, CHUNK_BYTES, compress=False)
        stream.finish()
    assert len(seen) <= 6


def test_zero_threads_are_refused():
    with pytest.raises(ValueError, match="threads is 0"):
        GzipStream(lambda part: None, threads=0)

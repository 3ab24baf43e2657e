"""Files of tables: what is written is read, both forms, and a bad file says what is wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge import table_file
from kaggle_utils.q20.knowledge.cache_folder import cache_folder
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table, save_table


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(scope="module")
def table() -> KnowledgeTable:
    made = synthetic_table(50, 33)
    return made.with_levels({"made up 1": np.linspace(0.2, 0.8, 256)})


def same(a: KnowledgeTable, b: KnowledgeTable) -> None:
    assert a.objects.words == b.objects.words
    assert a.objects.aliases == b.objects.aliases
    assert a.objects.categories == b.objects.categories
    assert list(a.bank) == list(b.bank)
    for name in ("theta", "unknown", "by_object", "by_question", "levels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(a.objects.prior, b.objects.prior)
    np.testing.assert_array_equal(a.objects.match_class, b.objects.match_class)


@pytest.mark.parametrize("compress", [False, True])
def test_a_table_survives_the_file(table, tmp_path, compress):
    path = save_table(table, tmp_path / "t.q20", compress=compress)
    same(load_table(path), table)
    same(load_table(path, verify=True), table)


def test_expanded_files_are_mapped_in_both_orders(table, tmp_path):
    loaded = load_table(save_table(table, tmp_path / "t.q20"))
    for array in (loaded.by_object, loaded.by_question):
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable
        assert array.flags.c_contiguous


def test_a_compressed_table_is_expanded_once(table, tmp_path, scratch):
    path = save_table(table, tmp_path / "t.q20", compress=True)
    assert isinstance(load_table(path).by_question.base, np.memmap)
    (cached,) = scratch.rglob("*.q20")
    made = cached.stat().st_mtime_ns
    same(load_table(path), table)
    assert cached.stat().st_mtime_ns == made
    cached.write_bytes(cached.read_bytes()[:-300])
    same(load_table(path), table)
    assert not list(scratch.rglob("*.partial"))


def test_without_a_folder_it_goes_straight_into_memory(table, tmp_path, monkeypatch):
    path = save_table(table, tmp_path / "t.q20", compress=True)
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(path / "below a file"))
    assert cache_folder() is None
    same(load_table(path), table)


def test_a_full_disk_is_no_failure(table, tmp_path, monkeypatch):
    path = save_table(table, tmp_path / "t.q20", compress=True)

    def full(*_args, **_options):
        raise OSError("no space left")

    monkeypatch.setattr(table_file, "save_table", full)
    same(load_table(path), table)


def test_another_table_at_the_same_path_is_not_taken_for_the_first(table, tmp_path):
    path = save_table(table, tmp_path / "t.q20", compress=True)
    load_table(path)
    other = synthetic_table(50, 33, seed=9)
    save_table(other, path, compress=True)
    same(load_table(path), other)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def _header(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[8:16], "little")
    return json.loads(data[16 : 16 + length]), data


def _with_header(path: Path, header: dict) -> None:
    length = int.from_bytes(path.read_bytes()[8:16], "little")
    text = json.dumps(header).encode()
    path.write_bytes(
        b"Q20TABLE" + len(text).to_bytes(8, "little") + text + path.read_bytes()[16 + length :] + b"\0" * 128
    )


@pytest.mark.parametrize("compress", [False, True])
def test_damage_is_found_and_named(table, tmp_path, compress):
    path = save_table(table, tmp_path / "t.q20", compress=compress)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"should end \d+ bytes behind the header|header alone"):
        load_table(path)
    path.write_bytes(whole)
    header, data = _header(path)
    start = -(-(16 + int.from_bytes(data[8:16], "little")) // 64) * 64
    _flip(path, start + header["arrays"]["by_question"]["offset"] + 40)
    with pytest.raises(ValueError, match=r"by_question (cannot be decompressed|has)"):
        load_table(path, verify=True)
    path.write_bytes(b"PK\x03\x04" + whole)
    with pytest.raises(ValueError, match="is no knowledge table: it starts with"):
        load_table(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no knowledge table"):
        load_table(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(version=99), "version 99, this code reads 1"),
        (lambda h: h.pop("arrays"), "damaged header"),
        (lambda h: h["arrays"]["prior"].update(dtype="object"), "prior is raw object"),
        (lambda h: h["arrays"]["prior"].update(shape=[3]), "prior float64 .3. cannot be"),
        (lambda h: h["arrays"]["prior"].update(offset=-8), "prior should end"),
        (lambda h: h["words"].pop(), "no consistent knowledge table"),
        (lambda h: h["arrays"].pop("by_question"), "no consistent knowledge table"),
    ],
)
def test_a_header_that_lies_is_refused(table, tmp_path, change, message):
    path = save_table(table, tmp_path / "t.q20")
    header, _ = _header(path)
    change(header)
    _with_header(path, header)
    with pytest.raises(ValueError, match=message):
        load_table(path)


def test_no_file_is_told_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no knowledge table at .*compile_table\.py"):
        load_table(tmp_path / "none.q20")


def test_a_failed_write_leaves_the_old_file(table, tmp_path, monkeypatch):
    path = save_table(table, tmp_path / "t.q20")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        save_table(synthetic_table(20, 5), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.q20"]


def test_loading_needs_no_pickle(table, tmp_path):
    path = save_table(table, tmp_path / "t.q20", compress=True)
    code = (
        "import pickle\n"
        "from kaggle_utils.q20.knowledge.table_file import load_table\n"
        "pickle.loads = pickle.load = pickle.Unpickler = None\n"
        f"print(load_table({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("KnowledgeTable(50 objects")


@pytest.mark.skipif(not table_file.SHIPPED.is_file(), reason="the default table is not compiled yet")
def test_the_shipped_table_opens_quickly_and_holds_what_it_promises():
    import time

    first = load_table(table_file.SHIPPED)
    start = time.process_time()
    table = load_table(table_file.SHIPPED)
    assert time.process_time() - start < 0.5
    assert table.objects.words == first.objects.words
    assert len(table.objects) >= 16_000
    assert len(table.stored) >= 1_000
    assert load_table() is load_table()

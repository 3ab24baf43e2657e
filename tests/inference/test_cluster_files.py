"""Blocks, parts and manifests of runs over data sets, without Ray: what is cut, kept, computed again and refused."""

from __future__ import annotations

import http.server
import io
import re
import shutil
import threading
import urllib.parse
from functools import partial

import numpy as np
import pytest
from fake_scorers import NumpyScorer, expected_logits

from kaggle_utils.inference.cluster.blocks import Block, BlockReader, InputFile, cut_blocks, list_inputs
from kaggle_utils.inference.cluster.manifest import MixedRunsError
from kaggle_utils.inference.cluster.storage import Folder, folder_and_name
from kaggle_utils.inference.specs import ScorerSpec

arrow = pytest.importorskip("pyarrow", reason="make test installs it")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = [np.arange(1, 2 + i % 17) + i for i in range(230)]
SPEC = ScorerSpec("judge", NumpyScorer, {}, fingerprint="one")


@pytest.fixture
def source(tmp_path):
    """230 rows in three files, in small row groups; one file has none, one lies deeper, one is hidden."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name, start, stop in (("a", 0, 90), ("b", 90, 90), ("deep/c", 90, 230)):
        write(folder / f"{name}.parquet", range(start, stop))
    (folder / "_temporary.parquet").write_bytes(b"half")
    return folder


def write(path, numbers, **columns):
    kind = arrow.list_(arrow.int64())
    ids = arrow.array([f"r{i}" for i in numbers], arrow.string())
    table = arrow.table({"id": ids, "input_ids": arrow.array([ROWS[i].tolist() for i in numbers], kind), **columns})
    parquet.write_table(table, path, row_group_size=40)


def score(source, output, spec=SPEC, **options):
    from kaggle_utils.inference.cluster import score_dataset

    options = {"cluster": None, "workers": "threads", "block_rows": 50, "progress": False, **options}
    return score_dataset(source, output, spec, **options)


def logged(log):
    return [line.split()[4] for line in log.read_text().splitlines() if line.startswith("done")]


def test_blocks_hold_every_row_once_in_order(source):
    folder = Folder(source)
    files = list_inputs(folder, None, columns=["id"])
    assert [(file.name, file.rows) for file in files] == [("a.parquet", 90), ("b.parquet", 0), ("deep/c.parquet", 140)]
    for size in (1, 7, 40, 90, 229, 230, 1000):
        blocks = cut_blocks(files, size)
        assert [block.rows for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        assert [block.first for block in blocks] == [i * size for i in range(len(blocks))]
        reader = BlockReader(folder, ["id"])
        ids = [cell for block in blocks for cell in reader.read(block).column("id").to_pylist()]
        assert ids == [f"r{i}" for i in range(230)]


def test_block_names_sort_as_numbers():
    blocks = cut_blocks([InputFile("a.parquet", 9, 100_001, "")], 1)
    assert [block.name for block in blocks] == sorted(block.name for block in blocks)
    assert Block.from_json(blocks[-1].to_json()) == blocks[-1]


def test_a_folder_that_is_made_while_it_is_listed(tmp_path):
    """Two workers begin a run: one writes its first mark while the other looks for marks."""
    places = [tmp_path / str(number) for number in range(60)]
    turn = threading.Barrier(2, timeout=20)

    def make() -> None:
        for place in places:
            turn.wait()
            place.mkdir()

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    for place in places:
        folder = Folder(place)
        folder.sizes()  # loads what it needs
        turn.wait()
        while not place.exists():
            assert folder.sizes() == {}
    maker.join()


def test_same_answers_as_the_engine_in_order(source, tmp_path):
    from kaggle_utils.inference.cluster import as_array, iter_dataset, read_dataset

    result = score(source, tmp_path / "out")
    assert (result.finished, result.rows, result.rows_done, result.computed, result.problems) == (
        True,
        230,
        230,
        230,
        0,
    )
    table = read_dataset(tmp_path / "out")
    assert table.column_names == ["row", "id", "logits", "problem"]
    assert table.column("id").to_pylist() == [f"r{i}" for i in range(230)]
    assert table.column("row").to_pylist() == list(range(230))
    assert np.array_equal(as_array(table, "logits"), expected_logits(ROWS))
    assert [part.num_rows for part in iter_dataset(tmp_path / "out", columns=["row"])] == [50, 50, 50, 50, 30]
    whole = parquet.read_table(tmp_path / "out")  # what other programs see
    assert sorted(whole.column("row").to_pylist()) == list(range(230))


def test_only_what_is_missing_is_computed_again(source, tmp_path):
    """A part that is cut short, one of another size, one that is gone, and what a killed run leaves behind."""
    from kaggle_utils.inference.cluster import read_dataset

    output, log = tmp_path / "out", tmp_path / "log"
    spec = ScorerSpec("judge", NumpyScorer, {"log": str(log)}, fingerprint="one")
    score(source, output, spec)
    before = read_dataset(output)
    said = len(logged(log))
    assert score(source, output, spec).computed == 0
    cut = (output / "block-00001.parquet").read_bytes()
    (output / "block-00001.parquet").write_bytes(cut[: len(cut) // 2])
    shutil.copy(output / "block-00000.parquet", output / "block-00004.parquet")
    short = parquet.read_table(output / "block-00002.parquet").slice(0, 49)  # whole, but not all of it
    parquet.write_table(short, output / "block-00002.parquet")
    (output / "block-00003.parquet").unlink()
    (output / "_tmp-0123").write_bytes(b"half a part")
    with pytest.raises(ValueError, match="4 of 5 blocks are missing") as caught:
        read_dataset(output)
    assert "block-00002: it has 49 rows of 50" in str(caught.value)
    assert "block-00004: it is block-00000 of run" in str(caught.value)
    result = score(source, output, spec)
    assert [report.name for report in result.blocks] == [f"block-0000{i}" for i in (1, 2, 3, 4)]
    assert result.computed == len(logged(log)) - said == 180
    assert read_dataset(output).equals(before)
    assert not list(output.glob("_tmp-*"))


def test_a_flipped_bit_is_noticed(source, tmp_path):
    """Wherever it is among the pages: they have checksums."""
    from kaggle_utils.inference.cluster import read_dataset

    score(source, tmp_path / "out")
    before = read_dataset(tmp_path / "out")
    part = tmp_path / "out" / "block-00002.parquet"
    whole = part.read_bytes()
    columns = [parquet.read_metadata(part).row_group(0).column(i) for i in range(4)]
    end = max((c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in columns)
    noticed = 0
    for place in range(4, end, 9):
        content = bytearray(whole)
        content[place] ^= 1
        part.write_bytes(content)
        try:
            assert read_dataset(tmp_path / "out").equals(before), f"byte {place} was changed, and so was the data"
        except ValueError as error:
            assert "block-00002" in str(error)
            noticed += 1
    assert noticed > 50
    content[place] ^= 1
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(ValueError, match=r"block-00002\.parquet is damaged .*delete it and run again"):
        read_dataset(tmp_path / "out")


def test_a_folder_never_holds_two_runs(source, tmp_path):
    output = tmp_path / "out"
    score(source, output)
    with pytest.raises(MixedRunsError, match="holds another run") as caught:
        score(source, output, ScorerSpec("judge", NumpyScorer, {}, fingerprint="two"), block_rows=60)
    assert caught.value.differences == (
        "block_rows: was 50, is 60",
        "task.scorer.fingerprint: was 'one', is 'two'",
    )
    write(source / "a.parquet", range(10, 100))  # the same number of rows, others
    with pytest.raises(MixedRunsError, match=r"inputs\[a\.parquet\]\.digest"):
        score(source, output)
    (tmp_path / "strange").mkdir()
    write(tmp_path / "strange" / "mine.parquet", range(3))
    with pytest.raises(ValueError, match=r"mine\.parquet.*new or an empty folder"):
        score(source, tmp_path / "strange")


def test_rows_with_problems_are_named_and_keep_their_place(source, tmp_path):
    from kaggle_utils.inference.cluster import as_array, read_dataset

    cells = [ROWS[i].tolist() for i in range(60)]
    cells[3], cells[20], cells[30], cells[50], cells[41] = [], None, [], [5, 99_999], [7, 88_888]
    parquet.write_table(arrow.table({"name": list("abcdef") * 10, "tokens": cells}), tmp_path / "rows.parquet")
    spec = ScorerSpec("judge", NumpyScorer, {"error_token": 99_999, "nan_token": 88_888}, fingerprint="one")
    result = score(tmp_path / "rows.parquet", tmp_path / "out", spec, rows="tokens", keep=["name"], block_rows=25)
    assert (result.finished, result.problems) == (True, 5)
    table = read_dataset(tmp_path / "out")
    assert table.column("name").to_pylist() == list("abcdef") * 10
    problems = {i: text for i, text in enumerate(table.column("problem").to_pylist()) if text}
    assert set(problems) == {3, 20, 30, 41, 50}
    assert problems[3] == problems[20] == problems[30] == "it has no tokens"
    assert "a token outside the vocabulary" in problems[50]
    logits = as_array(table, "logits")
    good = [i for i in range(60) if i not in problems]
    assert np.isnan(logits[list(problems)]).all()
    assert np.array_equal(logits[good], expected_logits([ROWS[i] for i in good]))


def test_what_cannot_work_is_said_at_once(source, tmp_path):
    write(tmp_path / "other.parquet", range(3))
    with pytest.raises(FileNotFoundError, match=r"no parquet file at .*nowhere"):
        score(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match=r"other\.parquet has no column tokens; there are id, input_ids"):
        score(tmp_path / "other.parquet", tmp_path / "out", rows="tokens")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match=r"bad\.parquet \(17 bytes\): ArrowInvalid"):
        score(tmp_path / "bad.parquet", tmp_path / "out")
    with pytest.raises(ValueError, match="nothing was computed") as caught:
        score(source, tmp_path / "out", ScorerSpec("judge", NumpyScorer, {}), block_rows=0, actors=(3, 2), workers="x")
    for words in ("have no fingerprint", "block_rows is 0", r"actors is (3, 2)", "workers is 'x'"):
        assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_scorer_that_fails_is_an_error_and_the_rest_stays(source, tmp_path):
    """Blocks that fail are tried again while others succeed; then they are named."""
    from kaggle_utils.inference.cluster import DatasetError

    class Failing(NumpyScorer):
        def score(self, rows):
            if any(row[0] > 200 for row in rows):
                raise RuntimeError("CUDA error: it answers no more")
            return super().score(rows)

    spec = ScorerSpec("judge", Failing, {}, fingerprint="one")
    with pytest.raises(DatasetError, match="200 of 230 rows are done and stay") as caught:
        score(source, tmp_path / "out", spec)
    assert caught.value.result.missing == ("block-00004",)
    assert "no worker is left for judge" in str(caught.value)
    assert score(source, tmp_path / "out").computed == 30


def test_a_block_that_ends_its_worker_again_and_again_is_given_up(source, tmp_path):
    """Each try leaves a mark until the part is there; nobody waits for a fifth."""
    from kaggle_utils.inference.cluster.manifest import read_manifest
    from kaggle_utils.inference.cluster.rows import RowTask
    from kaggle_utils.inference.cluster.tasks import Place
    from kaggle_utils.inference.cluster.worker import BlockJob, BlockWorker

    output = Folder(tmp_path / "out")
    score(source, tmp_path / "out")
    plan = read_manifest(output)
    block = plan.blocks()[2]
    output.delete(["block-00002.parquet"])
    for i in range(4):
        output.under("_attempts").write(f"{block.name}.{i}.json", b"{}")
    job = BlockJob(RowTask(SPEC), Folder(source), output, plan.digest, ("id",), Place(workers="threads"))
    worker = BlockWorker(job)
    assert worker.work(block).error.startswith("4 workers were lost with it")
    output.under("_attempts").delete([f"{block.name}.0.json"])
    assert worker.work(block).status == "done"
    assert not output.under("_attempts").sizes()
    assert worker.work(block).status == "there"
    worker.close()


def test_the_deadline_leaves_whole_blocks(source, tmp_path):
    from kaggle_utils.inference.cluster import read_dataset

    spec = ScorerSpec("judge", NumpyScorer, {"seconds_per_token": 2e-4}, fingerprint="one")
    result = score(source, tmp_path / "out", spec, deadline=0.25)
    assert not result.finished
    assert result.left == result.missing
    assert "left by the deadline" in result.to_text()
    assert score(source, tmp_path / "out").finished
    assert read_dataset(tmp_path / "out").num_rows == 230


def _joined(stream):
    """Chunks with their sizes in front, as HTTP writes them and S3 once more inside."""
    content = b""
    while size := int(stream.readline().partition(b";")[0], 16):
        content += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass  # checksums
    return content


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of an object store as pyarrow asks for: puts, gets of ranges, listings, several parts."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, files, parts, *args):
        self.files, self.parts = files, parts
        super().__init__(*args)

    def log_message(self, *args):
        pass

    def _say(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "ETag": '"0"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_PUT(self):
        """A part of an upload; an object is there when its upload is completed, and not before."""
        self.parts[urllib.parse.unquote(self.path.partition("?")[0])] = self._body()
        self._say(200)

    def do_POST(self):
        path, _, query = self.path.partition("?")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if query.startswith("uploads"):
            return self._say(200, b"<R><UploadId>1</UploadId></R>")
        if query == "delete=":
            return self._say(200, b"<DeleteResult></DeleteResult>")
        self.files[urllib.parse.unquote(path)] = self.parts.pop(urllib.parse.unquote(path))
        return self._say(200, b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = _joined(self.rfile)
        return _joined(io.BytesIO(body)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else body

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, _, query = self.path.partition("?")
        options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if "list-type" in options:
            return self._list(path.rstrip("/"), options)
        content = self.files.get(urllib.parse.unquote(path))
        if content is None:
            return self._say(404, b"<Error><Code>NoSuchKey</Code></Error>" * (self.command == "GET"))
        if found := re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
            return self._say(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return None
        return self._say(200, content)

    def do_DELETE(self):
        self.files.pop(urllib.parse.unquote(self.path.partition("?")[0]), None)
        self._say(204)

    def _list(self, bucket, options):
        keys = [key[len(bucket) + 1 :] for key in sorted(self.files) if key.startswith(f"{bucket}/")]
        keys = [key for key in keys if key.startswith(options.get("prefix", ""))]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.files[f'{bucket}/{key}'])}</Size></Contents>" for key in keys
        )
        self._say(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())


def test_an_object_store_holds_the_same(source, tmp_path):
    """Over HTTP, as actors on other machines would reach it: parts are puts, nothing is renamed."""
    from kaggle_utils.inference.cluster import read_dataset

    files: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Bucket, files, {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = f"?scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=x&allow_bucket_creation=true"
    try:
        place = f"s3://key:secret@bucket/in{options}"
        for path in source.rglob("*.parquet"):
            files[f"/bucket/in/{path.relative_to(source).as_posix()}"] = path.read_bytes()
        output = f"s3://key:secret@bucket/out{options}"
        assert score(place, output).finished
        assert {"/bucket/out/block-00004.parquet", "/bucket/out/_run.json"} <= set(files)
        assert not [name for name in files if "_tmp-" in name or "_attempts/block" in name]
        files["/bucket/out/block-00001.parquet"] = files["/bucket/out/block-00001.parquet"][:100]
        with pytest.raises(ValueError, match="1 of 5 blocks are missing") as caught:
            read_dataset(output)
        assert "secret" not in str(caught.value)
        assert score(place, output).computed == 50
        score(source, tmp_path / "out")
        assert read_dataset(output).equals(read_dataset(tmp_path / "out"))
    finally:
        server.shutdown()
        server.server_close()


def test_addresses_are_split_where_they_should():
    folder, name = folder_and_name("s3://bucket/a/b.parquet?region=x")
    assert (folder.address, name) == ("s3://bucket/a?region=x", "b.parquet")
    assert folder.under("c").address == "s3://bucket/a/c?region=x"
    assert folder.path("b.parquet") == "s3://bucket/a/b.parquet"

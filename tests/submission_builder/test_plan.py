"""The plan: every problem named before a byte is written, and sizes that the build then keeps."""

import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from archive_sources import MAIN, bf16_bytes, write_safetensors, write_sources

from submission_builder.archive import build_archive
from submission_builder.packing import plan_checks
from submission_builder.packing.tar_stream import tar_size
from submission_builder.plan import PlanError, make_plan
from submission_builder.profiles import custom_profile


def problems_of(*args, **options) -> str:
    with pytest.raises(PlanError) as caught:
        make_plan(*args, **options)
    assert str(caught.value).count("\n  - ") == len(caught.value.problems)
    return "\n".join(caught.value.problems)


@pytest.fixture
def main(tmp_path) -> Path:
    path = tmp_path / "main.py"
    path.write_text(MAIN)
    return path


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_files_sizes_and_decisions(tmp_path):
    plan = make_plan(**write_sources(tmp_path))
    by_name = {file.name: file for file in plan.files}
    assert list(by_name) == [
        "main.py",
        "model/config.json",
        "model/empty.txt",
        "model/model.safetensors",
        "model/packed.bin",
    ]
    assert [name for name, file in by_name.items() if file.stored] == ["model/packed.bin"]
    assert plan.unpacked_size == sum(f.source.stat().st_size for f in plan.files) + plan.manifest_size
    assert plan.tar_size % 10240 == 0
    assert plan.predicted_size < plan.stored_size
    assert not list(tmp_path.glob("*.gz*")), "a plan writes nothing"


def test_all_problems_at_once(tmp_path, model):
    (model / "gone.txt").symlink_to(tmp_path / "nowhere")
    (model / "model.safetensors").touch()
    (model / "lfs.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    os.mkfifo(model / "pipe")
    text = problems_of(
        tmp_path / "agent.py",
        include={"model": model, "/abs": model, "../up": model, "a": tmp_path / "missing", "x\\y": model},
        packages=("no_such_package_here", tmp_path / "nofolder"),
        output=tmp_path / "nodir" / "submission.tar.gz",
    )
    for expected in (
        "agent.py does not exist", "gone.txt is a dangling link", "model.safetensors is empty", "Git LFS pointer",
        "pipe is neither a file nor a folder", "'/abs' is absolute", "'../up' climbs out", "missing does not exist",
        "holds a backslash", "'no_such_package_here' is not installed", "nofolder", "nodir does not exist",
    ):  # fmt: skip
        assert expected in text, f"{expected!r} is not among\n{text}"


def test_main_is_checked(tmp_path, main):
    assert "is a folder" in problems_of(tmp_path)
    main.write_text("")
    assert "main.py is empty" in problems_of(main)
    main.write_text("%%writefile main.py\n" + MAIN)
    assert "main.py line 1: invalid syntax" in problems_of(main)
    main.write_bytes(b"a = '\xff\xfe'\n")
    assert "Kaggle could not load it" in problems_of(main)


def test_missing_main_names_its_neighbours(tmp_path, main):
    assert "the folder holds main.py" in problems_of(tmp_path / "agent.py")


def test_name_collisions(tmp_path, main, model):
    (tmp_path / "other.py").write_text(MAIN)
    (tmp_path / "MANIFEST.json").write_text("{}")
    text = problems_of(
        main,
        include={"main.py": tmp_path / "other.py", "model": model, "model/config.json/x": main,
                 "MANIFEST.json": tmp_path / "MANIFEST.json"},
    )  # fmt: skip
    assert "main.py is taken by 2 files" in text
    assert "model/config.json is a file and a folder at once" in text
    assert "MANIFEST.json is the builder's own file" in text


def test_output_that_would_contain_itself_or_hit_the_input(tmp_path, main, model, monkeypatch):
    text = problems_of(main, include={"all": tmp_path}, output=tmp_path / "model" / "submission.tar.gz")
    assert "would contain itself" in text
    monkeypatch.setenv("KAGGLE_UTILS_INPUT_DIR", str(tmp_path / "input"))
    (tmp_path / "input" / "deep").mkdir(parents=True)
    assert "only read" in problems_of(main, output=tmp_path / "input" / "deep" / "submission.tar.gz")
    assert "is a folder" in problems_of(main, output=model)
    assert "is also packed as main.py" in problems_of(main, output=main)


def test_archive_of_an_earlier_run_may_be_replaced(tmp_path, main):
    (tmp_path / "submission.tar.gz").write_text("old")
    make_plan(main, output=tmp_path / "submission.tar.gz")


def test_over_the_limits(tmp_path):
    arguments = write_sources(tmp_path)
    sizes = make_plan(**arguments)
    tight = custom_profile(sizes.predicted_size - 1, max_unpacked_bytes=sizes.unpacked_size - 1)
    with pytest.raises(PlanError) as caught:
        make_plan(**arguments, profile=tight)
    assert len(caught.value.problems) == 2
    assert "quantise" in caught.value.problems[0]
    assert "model/packed.bin" in caught.value.plan.to_text(), "sizes are shown in spite of the problems"
    between = make_plan(**arguments, profile=custom_profile(sizes.stored_size - 1))
    assert "only if compression saves" in between.warnings[0]
    assert not make_plan(**arguments, profile=custom_profile(sizes.stored_size)).warnings
    stored = problems_of(**arguments, profile=custom_profile(sizes.stored_size - 1), compress="never")
    assert "predicted" not in stored, "a stored size is exact"


def test_disk_space(tmp_path, monkeypatch):
    arguments = write_sources(tmp_path)
    sizes = make_plan(**arguments)
    monkeypatch.setattr(plan_checks.shutil, "disk_usage", lambda _: type("U", (), {"free": sizes.predicted_size - 1}))
    assert "free space there" in problems_of(**arguments)
    monkeypatch.setattr(plan_checks.shutil, "disk_usage", lambda _: type("U", (), {"free": sizes.predicted_size}))
    assert "stops cleanly if the disk fills" in make_plan(**arguments).warnings[0]


def test_disk_space_of_a_real_small_disk(tmp_path, small_disk):
    arguments = {**write_sources(tmp_path), "output": small_disk / "submission.tar.gz"}
    assert "free space there" in problems_of(**arguments)


@pytest.fixture
def small_disk(tmp_path):
    """A 1 MB file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_cut_off_or_broken_safetensors(main, model):
    whole = write_safetensors(model / "model.safetensors", bf16_bytes(1000))
    make_plan(main, include={"model": model}, output=model.parent / "s.tar.gz")
    data = whole.read_bytes()
    for broken, expected in (
        (data[:-1], "promises 2,0"),
        (data + b"x", "promises 2,0"),
        (data[:5], "cut off"),
        (data[:40], "cut off"),
        (struct.pack("<Q", 2**60) + data[8:], "cut off"),
        (struct.pack("<Q", 10) + b"[[[[[[[[[[" + data, "header is not readable"),
        (struct.pack("<Q", 10) + b'{"a":    }' + data, "header is not readable"),
        (struct.pack("<Q", 10) + b'{"a":null}' + data, "header is not readable"),
    ):
        whole.write_bytes(broken)
        assert expected in problems_of(main, include={"model": model}, output=model.parent / "s.tar.gz")


def test_index_names_absent_shards(main, model):
    shards = [f"model-0000{i}-of-00005.safetensors" for i in range(1, 6)]
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("abcde", shards, strict=True))})
    )
    write_safetensors(model / shards[0], bf16_bytes(100))
    text = problems_of(main, include={"model": model}, output=model.parent / "s.tar.gz")
    assert "names 5 shards, 4 of them absent: model-00002-of-00005" in text
    assert "and 1 more" in text
    (model / "model.safetensors.index.json").write_text("[]")
    assert "not readable as a shard index" in problems_of(main, include={"model": model})


def test_weights_included_twice(main, model, tmp_path):
    write_safetensors(model / "model.safetensors", bf16_bytes(5000))
    make_plan(main, include={"a": model}, output=tmp_path / "s.tar.gz")
    assert "included 2 times" in problems_of(main, include={"a": model, "b": model})
    (model / "pytorch_model.bin").write_bytes(bf16_bytes(6000, seed=3))
    (model / "original").mkdir()
    (model / "original" / "consolidated.00.pth").write_bytes(bf16_bytes(6000, seed=4))
    text = problems_of(main, include={"m": model})
    assert (
        "m holds its weights twice: as safetensors and as m/original/consolidated.00.pth, m/pytorch_model.bin" in text
    )
    plan = make_plan(
        main, include={"m": model}, exclude=("*.bin", "m/original/*", "*.h5"), output=tmp_path / "s.tar.gz"
    )
    assert [file.name for file in plan.files] == ["m/config.json", "m/model.safetensors", "main.py"]
    assert plan.warnings == ("exclude pattern '*.h5' matches nothing",)


def test_links_are_followed_and_loops_are_named(main, model, tmp_path):
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    write_safetensors(blob, bf16_bytes(100))
    (model / "model.safetensors").symlink_to(blob)
    (model / "more").symlink_to(blob.parent)
    names = [f.name for f in make_plan(main, include={"m": model}, output=tmp_path / "s.tar.gz").files]
    assert names == ["m/config.json", "m/model.safetensors", "m/more/0123", "main.py"]
    (model / "loop").symlink_to(model)
    assert "loop links back to" in problems_of(main, include={"m": model})


def test_package_holds_sources_and_data_only(main, tmp_path, monkeypatch):
    package = tmp_path / "site" / "tinypack"
    for name in ("__init__.py", "data/words.txt", "sub/deep.py", "__pycache__/x.pyc", "tests/test_x.py", "old.pyc"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x = 1\n")
    (tmp_path / "site" / "single.py").write_text("y = 2\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    by_name = make_plan(main, packages=("tinypack", "single"), output=tmp_path / "s.tar.gz")
    by_folder = make_plan(main, packages=(package, "single"), output=tmp_path / "s.tar.gz")
    expected = ["main.py", "single.py", "tinypack/__init__.py", "tinypack/data/words.txt", "tinypack/sub/deep.py"]
    assert [f.name for f in by_name.files] == [f.name for f in by_folder.files] == expected
    assert "tinypack" not in sys.modules, "a package is found, not imported"


def test_kaggle_utils_itself_can_be_packed(main, tmp_path):
    names = [f.name for f in make_plan(main, packages="kaggle_utils", output=tmp_path / "s.tar.gz").files]
    assert "kaggle_utils/environment.py" in names
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_unreadable_sources_are_named():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        for secret in (folder / "main.py", folder / "model" / "deep" / "config.json"):
            secret.parent.mkdir(parents=True, exist_ok=True)
            secret.write_text(MAIN)
            secret.chmod(0)
        (folder / "model" / "deep").chmod(0)
        user = os.geteuid()
        if user == 0:  # root may read everything
            os.seteuid(65534)
        try:
            text = problems_of(folder / "main.py", include={"m": folder / "model"}, output=folder / "s.tar.gz")
        finally:
            os.seteuid(user)
            (folder / "model" / "deep").chmod(0o755)
    assert "main.py cannot be read: Permission denied" in text
    assert "deep cannot be read: Permission denied" in text


def test_undecodable_name(main, model, tmp_path):
    Path(os.fsdecode(os.fsencode(model) + b"/caf\xe9")).write_text("x")
    assert "is not valid UTF-8" in problems_of(main, include={"m": model}, output=tmp_path / "s.tar.gz")


def test_empty_folder_and_top_level_contents(main, model, tmp_path):
    (tmp_path / "void" / "deeper").mkdir(parents=True)
    assert "holds no files" in problems_of(main, include={"v": tmp_path / "void"}, output=tmp_path / "s.tar.gz")
    names = [f.name for f in make_plan(main, include={".": model}, output=tmp_path / "s.tar.gz").files]
    assert names == ["config.json", "main.py"]


def test_only_the_executable_bit_survives(main, tmp_path):
    for mode, expected in ((0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o4777, 0o755)):
        main.chmod(mode)
        assert make_plan(main, output=tmp_path / "s.tar.gz").files[0].mode == expected


def test_settings_are_checked(main):
    with pytest.raises(ValueError, match="compress is 'zip'"):
        make_plan(main, compress="zip")


def test_table_is_aligned_and_names_what_dominates(tmp_path):
    text = make_plan(**write_sources(tmp_path, weights=8_000_000)).to_text()
    rows = text.split("\n\n")[0].splitlines()
    assert len({row.index(unit) for row in rows for unit in (" kB", " MB", " B ") if unit in row[:32]}) <= 3
    assert "largest  model/model.safetensors: 16.0 MB, 83 % of the archive" in text
    assert tar_size(0) == 10240


def test_an_installed_package_brings_its_metadata(tmp_path):
    """transformers asks for the version of bitsandbytes that way, and takes it for absent without an answer."""
    main = tmp_path / "main.py"
    main.write_text("def agent(obs, cfg):\n    return 'no'\n")
    plan = make_plan(main, packages=["tqdm"], output=tmp_path / "out.tar.gz", profile="none")
    assert [f.name for f in plan.files if f.name.startswith("tqdm-") and f.name.endswith(".dist-info/METADATA")]
    build_archive(plan, progress=False)
    with tarfile.open(plan.output) as archive:
        archive.extractall(tmp_path / "agent", filter="data")
    code = "import sys; sys.path[:] = [sys.argv[1]] + [p for p in sys.path if 'site-packages' not in p]; "
    code += "from importlib.metadata import version; print(version('tqdm'))"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(tmp_path / "agent")], capture_output=True, text=True)
    assert done.stdout.strip(), done.stderr


def test_space_that_a_killed_build_holds_counts_as_free(tmp_path, main):
    output = tmp_path / "s.tar.gz"
    before = make_plan(main, output=output).free_bytes
    (tmp_path / "s.tar.gz.partial").write_bytes(os.urandom(20_000_000))
    after = make_plan(main, output=output).free_bytes
    assert after > before - 10_000_000

"""From a wheelhouse to a verified archive in a root like Kaggle's: input read-only, a small working folder, no network.

The original notebook staged the weights in ``/kaggle/working`` and packed them there, and the disk was full. Its own
command does that here too, at small scale; ours packs the same weights in the same room.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import simulated_kaggle

from submission_builder.wheels.image_pip import PipSources
from submission_builder.wheels.own_wheel import repack_installed
from submission_builder.wheels.wheelhouse import build_wheelhouse

WEIGHTS = 24 * 2**20  # bytes; random, so that nothing packs them smaller
WORKING = 40 * 2**20  # room for the weights or the archive, not for both
MODEL = "gemma-2/transformers/gemma-2-2b-it/2"  # as the notebook names it
SETTINGS = {'KEYWORDS = ["popcorn", "bread knife"]': 'KEYWORDS = ["popcorn"]'}

# The original's last two steps; with gzip where pigz and pv are not installed.
ORIGINAL = """
mkdir -p submission/weights && cp -r /kaggle/input/{model}/. submission/weights
tar --use-compress-program='{pack}' -cf submission.tar.gz -C /kaggle/working/submission .
echo "tar ended with $?" >&2
gzip -t submission.tar.gz && echo whole
rm -rf submission submission.tar.gz
touch /kaggle/input/written 2>/dev/null && echo writable
exec "$@"
"""

CELLS = """
import importlib.metadata, importlib.util, json, os, socket, sys, tarfile
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

facts = {"before": importlib.util.find_spec("kaggle_utils") is not None}
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
for cell in json.loads(Path(sys.argv[1]).read_text())["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
import isal, kaggle_environments, kaggle_utils, numpy
facts["from"] = [str(Path(m.__file__).parent.parent) for m in (kaggle_utils, isal, kaggle_environments, numpy)]
with tarfile.open("submission.tar.gz") as archive:
    facts["names"] = archive.getnames()
facts["replays"] = len(list(Path("replays").glob("*.html")))
facts["interfaces"] = [name for _, name in socket.if_nameindex()]
facts["verified"] = shell.user_ns["report"].ok
Path(sys.argv[2]).write_text(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory, tiny_llama) -> Path:
    """What is attached: a wheelhouse, made for an image like this environment, and a model."""
    folder = tmp_path_factory.mktemp("simulated")
    image, wheels, given = simulated_kaggle.image_folder(folder / "image"), folder / "wheels", folder / "input"
    wheels.mkdir()
    for name in simulated_kaggle.MISSING[1:]:
        repack_installed(name, wheels)
    freeze = simulated_kaggle.write_freeze(image, folder / "image.txt")
    manifest = build_wheelhouse(
        freeze, given / "kaggle-notebook-utils", extras=("llm", "game"),
        sources=PipSources(find_links=(str(wheels),), no_index=True),
    )  # fmt: skip
    assert {wheel.name for wheel in manifest.wheels} == set(simulated_kaggle.MISSING), manifest.to_text()
    shutil.copytree(tiny_llama, given / MODEL)
    (given / MODEL / "layers.dat").write_bytes(os.urandom(WEIGHTS))
    return given


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(simulated_kaggle.namespaces() is None, reason="no namespaces: needs root, or user namespaces")
def test_the_notebook_runs_offline_where_the_original_fills_the_disk(given, tmp_path, root):
    notebook, facts = tmp_path / "notebook.ipynb", tmp_path / "facts.json"
    text = (root / "notebooks" / "llm20q_submission.ipynb").read_text(encoding="utf-8")
    for old, new in SETTINGS.items():
        quoted = json.dumps(old)[1:-1]
        assert text.count(quoted) == 1, f"the notebook does not set {old}"
        text = text.replace(quoted, json.dumps(new)[1:-1])
    notebook.write_text(text, encoding="utf-8")
    (tmp_path / "cells.py").write_text(CELLS, encoding="utf-8")
    python = _environment(tmp_path / "environment", given.parent / "image")
    pack = "pigz --fast --recursive | pv -q" if shutil.which("pigz") and shutil.which("pv") else "gzip -1"
    done = simulated_kaggle.run_there(
        ["/bin/sh", "-c", ORIGINAL.format(model=MODEL, pack=pack), "sh",
         str(python), str(tmp_path / "cells.py"), str(notebook), str(facts)],
        given=given, new_root=tmp_path / "root", working_size=str(WORKING),
        environment={"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "KAGGLE_KERNEL_RUN_TYPE": "Batch",
                     "OMP_NUM_THREADS": "1", "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, said
    assert "No space left on device" in done.stderr, said  # the original
    assert not {"whole", "writable"} & set(done.stdout.splitlines()), said
    found = json.loads(facts.read_text())
    assert not found["before"], "kaggle_utils was there before the notebook installed it"
    assert found["from"][:3] == [str(python.parents[1] / "lib" / python.name / "site-packages")] * 3, found["from"]
    assert found["from"][3] != found["from"][0]  # numpy is the image's own
    assert found["verified"] and found["replays"] == 1 and found["interfaces"] == ["lo"]
    packed = {"main.py", "model/model.safetensors", "model/layers.dat", "kaggle_utils/q20/agent.py"}
    assert packed <= set(found["names"])


def _environment(folder: Path, image: Path) -> Path:
    """A fresh environment on top of the image's packages; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / "lib" / name / "site-packages" / "image.pth").write_text(f"{image}\n")
    return folder / "bin" / name

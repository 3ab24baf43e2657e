"""A ``kaggle`` on the PATH that speaks like the official client (2.2) and keeps what it was sent in a folder.

It prints the client's own sentences, with its exit statuses: some failures are sentences with status 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_SCRIPT = r"""
import json, os, pathlib, sys
home = pathlib.Path(@HOME@)
args = sys.argv[1:]
state = json.loads((home / "state.json").read_text())
with (home / "calls.jsonl").open("a") as log:
    log.write(json.dumps(args) + "\n")

def end(text, status=0):
    (home / "state.json").write_text(json.dumps(state))
    print(text, file=sys.stderr if status else sys.stdout)
    sys.exit(status)

def option(*names):
    return next((args[i + 1] for i, a in enumerate(args) if a in names), None)

def absent():
    end("404 Client Error: Not Found for url: https://example.invalid/api\n\nThe resource was not found.", 1)

def send(folder):
    names = []
    for name in sorted(os.listdir(folder)):
        if name in ("dataset-metadata.json", "model-metadata.json", "model-instance-metadata.json"):
            continue
        if os.path.isdir(folder / name):
            mode = option("-r")
            if not mode:
                print("Skipping folder: " + name + "; use '--dir-mode' to upload folders")
                continue
            name += "." + mode
        print("Starting upload for file " + name, " 50%|##  |", "100%|####|", sep="\r")
        names.append(name)
    return names

words = " ".join(a for a in args[:4] if not a.startswith("-"))
for start, (text, status) in state["fail"].items():
    if words.startswith(start):
        end(text, status)
if words.startswith("datasets status"):
    end("ready") if args[2] in state["datasets"] else absent()
folder = pathlib.Path(option("-p") or ".")
if words.startswith("datasets"):
    meta = json.loads((folder / "dataset-metadata.json").read_text())
    names = send(folder)
    if args[1] == "create":
        if meta["id"] in state["datasets"]:
            end("Dataset creation error: The requested slug is already in use by a dataset.")
        state["datasets"][meta["id"]] = [names]
        end("Your private Dataset is being created. Please check progress at https://example.invalid/" + meta["id"])
    if meta["id"] not in state["datasets"]:
        end("Dataset version creation error: Failed to resolve the necessary information from the request.")
    state["datasets"][meta["id"]].append(names)
    end("Dataset version is being created. Please check progress at https://example.invalid/" + meta["id"])
if words.startswith("kernels push"):
    meta = json.loads((folder / "kernel-metadata.json").read_text())
    json.loads((folder / meta["code_file"]).read_text())
    state["kernels"].append(meta["id"])
    missing = [s for s in meta["dataset_sources"] if s in state["missing"]]
    if missing:
        print("The following are not valid dataset sources and could not be added to the kernel: " + str(missing))
    end("Kernel version 1 successfully pushed.  Please check progress at https://example.invalid/" + meta["id"])
if words.startswith("models get"):
    end("{}") if args[2] in state["models"] else absent()
if words.startswith("models create"):
    meta = json.loads((folder / "model-metadata.json").read_text())
    state["models"][meta["ownerSlug"] + "/" + meta["slug"]] = {}
    end("Your model was created. Id=1. Url=https://example.invalid/model")
if words.startswith("models variations get"):
    owner, slug, *rest = args[3].split("/")
    end("{}") if "/".join(rest) in state["models"].get(owner + "/" + slug, {}) else absent()
if words.startswith("models variations versions create"):
    owner, slug, *rest = args[4].split("/")
    state["models"][owner + "/" + slug]["/".join(rest)].append(send(folder))
    end("Your model instance version was created. Url=https://example.invalid/model")
if words.startswith("models variations create"):
    meta = json.loads((folder / "model-instance-metadata.json").read_text())
    page = state["models"][meta["ownerSlug"] + "/" + meta["modelSlug"]]
    page[meta["framework"] + "/" + meta["instanceSlug"]] = [send(folder)]
    end("Your model instance was created. Id=2. Url=https://example.invalid/model")
end("usage: kaggle: " + words, 2)
"""


class FakeKaggle:
    """Writes the client into ``home/bin``; ``state`` is what Kaggle would know."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin = home, home / "bin"
        self.bin.mkdir(parents=True)
        self.write(datasets={}, kernels=[], models={}, fail={}, missing=[])
        script = self.bin / "kaggle"
        script.write_text(f"#!{sys.executable} -IS\n" + _SCRIPT.replace("@HOME@", repr(str(home))), encoding="utf-8")
        script.chmod(0o755)

    @property
    def state(self) -> dict:
        return json.loads((self.home / "state.json").read_text(encoding="utf-8"))

    def write(self, **changes) -> None:
        """Change what Kaggle knows: ``fail={"datasets create": ("sentence", status)}``, ``missing=["ada/data"]``."""
        known = self.state if (self.home / "state.json").exists() else {}
        (self.home / "state.json").write_text(json.dumps({**known, **changes}), encoding="utf-8")

    @property
    def calls(self) -> list[list[str]]:
        """Arguments of each call so far."""
        log = self.home / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

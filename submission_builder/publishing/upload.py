"""Send prepared folders with the official client: create or new version, and what to do where it fails.

A failed upload leaves the folder as it is. Run again, the client goes on where a file of it broke off (it recognises
files by place, size and time); a model's page that exists is not made twice, and notebooks that went up unchanged are
not pushed again, because each push also runs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from submission_builder.publishing.client import KaggleClient, Reply
from submission_builder.publishing.prepared import Prepared

__all__ = ["PUSHED_NAME", "UploadError", "upload_dataset", "upload_kernels", "upload_model"]

PUSHED_NAME = "pushed.json"
"""Beside the notebooks' folders: a digest of each as it was last pushed."""
_ABSENT = r"\b40[34]\b|not found|forbidden"  # Kaggle answers 403 for what does not exist or is another's
_LOGIN = r"authentication required|\b401\b|unauthorized|could not find kaggle\.json|unauthenticated"
_REFUSED = r"(creation|push|upload) error:|upload unsuccessful|skipping folder"
_NOT_ATTACHED = r"not valid (dataset|competition|kernel|model) sources"
_DONE = r"is being created|successfully (pushed|saved)|was created"
_PROCESSING = r"^(pending|not_yet_persisted|blobs_\w+|individual_blobs_compressed|reprocessing)$"
_NEXT = (
    (_LOGIN, "log in first: `kaggle auth login`, or see the client's help on tokens"),
    (r"already in use", "it exists: add a version with --as version, or choose another --slug"),
    (r"not allowed to create|\b403\b|permission", "check that --owner is your own user name, that your account is "
     "verified by phone, and that an earlier version is not still being processed"),
    (r"\b404\b|failed to resolve the necessary information", "it does not exist yet: send it with --as create"),
    (r"unrecognized arguments|invalid choice", "this client is too old for that: pip install --upgrade kaggle"),
    (r"\b429\b", "Kaggle asks for a pause; wait a few minutes and run the same command again"),
    (r"\b5\d\d\b|connection|timed? ?out|resolve|unreachable|upload unsuccessful",
     "Kaggle could not be reached or broke off; run the same command again, what went up is not sent twice"),
)  # fmt: skip


class UploadError(RuntimeError):
    """The client failed; the message holds its last words and the next step, never a credential."""

    def __init__(self, what: str, reply: Reply, step: str = "") -> None:
        self.reply = reply
        self.step = step or next(
            (step for pattern, step in _NEXT if reply.says(pattern)), "read its message above and run again"
        )
        words = "\n".join(f"  | {line}" for line in _last_words(reply)) or "  | (it printed nothing)"
        call = f"kaggle {' '.join(reply.arguments[:2])}"
        super().__init__(f"{what}: `{call} ...` ended with status {reply.status}:\n{words}\nnext: {self.step}")


def upload_dataset(prepared: Prepared, client: KaggleClient, *, how: str = "auto", public: bool = False) -> str:
    """Create the dataset, or add a version where it exists; returns what the client said last.

    Args:
        prepared: from ``dataset.make_dataset``.
        client: from ``client.find_client``.
        how: "auto" asks Kaggle whether it exists; "create" and "version" do not ask.
        public: everybody may see a dataset that is created; a version changes nothing about that.

    Raises:
        UploadError: it did not go up, or an earlier version is still being processed.
    """
    if how not in ("auto", "create", "version"):
        raise ValueError(f"how is {how!r}, expected 'auto', 'create' or 'version'")
    create, version = prepared.commands
    if how == "auto":
        what = f"asking whether dataset {prepared.reference} exists"
        status = client.run("datasets", "status", prepared.reference, echo=False)
        how = "version" if _exists(status, what) else "create"
        if status.says(_PROCESSING):
            step = "its last version is still being processed; wait some minutes and run the same command again"
            raise UploadError(what, status, step)
    arguments = version.arguments if how == "version" else (*create.arguments, *(("-u",) if public else ()))
    return _send(client, arguments, f"dataset {prepared.reference}, {how}")


def upload_model(prepared: Prepared, client: KaggleClient) -> str:
    """Make the page and the variation where they are missing, else add a version; returns what the client said last.

    Raises:
        UploadError: a step failed; those before it need not be repeated.
    """
    page, first, version = prepared.commands
    model = "/".join(prepared.reference.split("/")[:2])
    if not _exists(client.run("models", "get", model, echo=False), f"asking whether model {model} exists"):
        _send(client, page.arguments, f"model {model}")
    what = f"asking whether variation {prepared.reference} exists"
    known = client.run("models", "variations", "get", prepared.reference, echo=False)
    return _send(client, (version if _exists(known, what) else first).arguments, f"model {prepared.reference}")


def upload_kernels(prepared: Sequence[Prepared], client: KaggleClient, *, again: bool = False) -> dict[str, str]:
    """Push notebooks one after another; returns reference -> what the client said, "unchanged" where it was not asked.

    A notebook that was pushed as it is now is passed over unless ``again``.

    Raises:
        UploadError: one failed; those before it are up, and the next run passes over them.
    """
    said: dict[str, str] = {}
    for item in prepared:
        record = item.path.parent / PUSHED_NAME
        pushed, digest = _read_record(record), _digest(item)
        if pushed.get(item.reference) == digest and not again:
            said[item.reference] = "unchanged"
            continue
        left = [other.reference for other in prepared[len(said) + 1 :]]
        rest = f" (up: {', '.join(said) or 'none'}; not yet: {', '.join(left) or 'none'})"
        said[item.reference] = _send(client, item.commands[0].arguments, f"notebook {item.reference}{rest}")
        _write_record(record, {**pushed, item.reference: digest})
    return said


def _send(client: KaggleClient, arguments: Sequence[str], what: str) -> str:
    reply = client.run(*arguments)
    if reply.says(_NOT_ATTACHED):
        step = "the notebook was pushed without these: create them under your account, or correct the facts; push again"
        raise UploadError(what, reply, step)
    if reply.status or reply.says(_REFUSED):
        raise UploadError(what, reply)
    done = [line for line in reply.lines if re.search(_DONE, line, flags=re.IGNORECASE)]
    if not done:
        raise UploadError(what, reply, "the client did not say that it went up; look at its page on Kaggle first")
    return done[-1]


def _last_words(reply: Reply) -> list[str]:
    """The end of what it printed, of a traceback only the error."""
    if reply.says("^Traceback"):
        return [line for line in reply.lines if not line.startswith((" ", "Traceback"))][-8:]
    return list(reply.lines[-8:])


def _exists(reply: Reply, what: str) -> bool:
    if reply.status == 0:
        return True
    if reply.says(_ABSENT) and not reply.says(_LOGIN):
        return False
    raise UploadError(what, reply)


def _digest(item: Prepared) -> str:
    """Of the folder's files, and of whether it is run: saved without running is not the same as run."""
    total = hashlib.sha256(" ".join(item.commands[0].arguments[:2] + item.commands[0].arguments[4:]).encode())
    for path in sorted(item.path.iterdir()):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _read_record(path: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _write_record(path: Path, pushed: dict[str, str]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(pushed, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)

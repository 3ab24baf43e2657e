"""A small stand-in for the model hub on 127.0.0.1, with the parts of its HTTP interface that downloads use."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest


class HubStub:
    """One repository per name; faults are switched on by the attributes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        """(method, path, Range header) in the order of arrival."""
        self.tokens: set[str | None] = set()
        self.sent: dict[str, int] = {}
        """Bytes of body sent, by file."""
        self.cut_once: set[str] = set()
        """Files whose first transfer breaks off in the middle."""
        self.gated: set[str] = set()
        """Repositories that answer file requests with 403 unless the token is "accepted"."""
        self.short: set[str] = set()
        """Files that the hub itself serves one byte short, size and all."""

    def commit(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def gets(self, name: str) -> list[str | None]:
        """Range headers of the GET requests for a file."""
        return [bounds for method, path, bounds in self.requests if method == "GET" and path.endswith("/" + name)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: HubStub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._serve(body=False)

    def do_GET(self):
        self._serve(body=True)

    def _serve(self, *, body):
        path = unquote(urlsplit(self.path).path)
        self.stub.requests.append((self.command, path, self.headers.get("Range")))
        self.stub.tokens.add(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if api else parts[:2])
        if repo not in self.stub.repos:
            return self._error(404, "RepoNotFound")
        rest = parts[4:] if api else parts[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", self.stub.commit(repo)):
            return self._error(404, "RevisionNotFound")
        if api:
            return self._api(repo, tree=rest[:1] == ["tree"])
        if repo in self.stub.gated and self.headers.get("Authorization") != "Bearer accepted":
            return self._error(403, "GatedRepo")
        return self._file(repo, "/".join(rest[2:]), body=body)

    def _api(self, repo, *, tree):
        files = self.stub.repos[repo]
        if tree:
            answer = [{"type": "file", "path": n, "size": len(d), "oid": _etag(d)} for n, d in files.items()]
        else:
            siblings = [{"rfilename": n, "size": len(d), "blobId": _etag(d)} for n, d in files.items()]
            answer = {
                "_id": "1",
                "id": repo,
                "modelId": repo,
                "sha": self.stub.commit(repo),
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repo, name, *, body):
        data = self.stub.repos[repo].get(name)
        if data is None:
            return self._error(404, "EntryNotFound")
        etag = _etag(data)
        if name in self.stub.short:
            data = data[:-1]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.stub.commit(repo), "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = body and name in self.stub.cut_once
        self.stub.cut_once -= {name} if cut else set()
        self._send(206 if start else 200, data[start:], headers, body=body, cut=cut, name=name)
        return None

    def _error(self, status, code):
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status, data, headers, *, body=True, cut=False, name=None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body or self.command == "HEAD":
            return
        sent = data[: len(data) // 2] if cut else data
        self.wfile.write(sent)
        if name:
            self.stub.sent[name] = self.stub.sent.get(name, 0) + len(sent)
        self.close_connection = self.close_connection or cut


def _etag(data):
    return hashlib.sha256(data).hexdigest()[:40]


@pytest.fixture
def hub():
    """A running stub; its ``url`` is the endpoint to give."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.stub = HubStub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield handler.stub
    server.shutdown()
    server.server_close()
    thread.join()

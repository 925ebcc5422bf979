"""A server that speaks the few requests of a hub that are made here; its repositories are folders.

`root/datasets/owner/name/<commit>/...` and `root/models/owner/name/<commit>/...`; the commit named in the
file `main` beside them is the one of the main branch.
"""

import hashlib
import json
import re
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.serving import serving

API = re.compile(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(?:/.*)?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, kind: str, id: str, commit: str, files: dict[str, bytes]) -> None:
        """A commit, which the main branch names from now on."""
        folder = self.root / kind / id
        for name, data in {"README.md": b"facts", **files}.items():
            path = folder / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "main").write_text(commit)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if found := API.fullmatch(path):
            self._tell(*found.groups())
        elif found := FILE.fullmatch(path):
            kind, id, revision, name = found.groups()
            self._give("datasets" if kind else "models", id, revision, name)
        else:
            self._say(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_GET = do_HEAD = answer

    def _commit(self, kind: str, id: str, revision: str | None) -> tuple[str, Path] | None:
        folder = self.server.root / kind / id
        if not folder.is_dir():
            self._say(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return None
        commit = (folder / "main").read_text() if revision in (None, "main") else str(revision)
        if not (folder / commit).is_dir():
            self._say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, folder / commit

    def _tell(self, kind: str, id: str, what: str | None, revision: str | None) -> None:
        if not (found := self._commit(kind, id, revision)):
            return
        commit, folder = found
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in paths]
        facts: Any = {"id": id, "sha": commit, "siblings": [{"rfilename": name} for name in names]}
        if what == "tree":
            facts = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": etag(path)}
                for name, path in zip(names, paths, strict=True)
            ]
        self._say(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _give(self, kind: str, id: str, revision: str, name: str) -> None:
        if not (found := self._commit(kind, id, revision)):
            return
        commit, folder = found
        path = folder / name
        if not path.is_file():
            self._say(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        self._say(200, path.read_bytes(), {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def serve_hub(root: Path) -> AbstractContextManager[Hub]:
    """As long as the block lasts."""
    return serving(Hub(root))

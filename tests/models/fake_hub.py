"""A hub on the loopback interface: enough of the Hugging Face hub's API for huggingface_hub to search and download."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """What the hub serves, and what it was asked.

    Attributes:
        files: repository id: file name: content.
        gated: repositories whose files are refused.
        cut_after: end the first download of a `.safetensors` file after so many bytes.
        silent: accept connections and answer nothing.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: int | None = None
    silent: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def describe(self, repository: str, *, sizes: bool) -> dict[str, Any]:
        files = self.files[repository]
        described: dict[str, Any] = {
            "_id": "1",
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "gated": "manual" if repository in self.gated else False,
            "private": False,
            "downloads": 1234,
            "likes": 5,
            "tags": ["license:apache-2.0", "conversational"],
            "siblings": [
                {"rfilename": name, **({"size": len(content)} if sizes else {})} for name, content in files.items()
            ],
            "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
        }
        if any(name.endswith(".safetensors") for name in files):
            described["safetensors"] = {"parameters": {"F32": 12345}, "total": 12345}
        return described

    def entries(self, repository: str) -> list[dict[str, Any]]:
        """Its files and folders, as a tree lists them."""
        files = self.files[repository]
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        listed = [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]
        return listed + [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        hub.asked.append((self.command, url.path, self.headers.get("Range")))
        while hub.silent:
            time.sleep(0.02)
        parts = url.path.strip("/").removeprefix("datasets/").split("/")
        if url.path in ("/", ""):
            self.send(200, b"")
        elif url.path == "/api/models":
            words = parse_qs(url.query).get("search", [""])[0].lower()
            found = [hub.describe(name, sizes=False) for name in hub.files if words in name.lower()]
            self.send_json(200, found)
        elif parts[4:5] == ["tree"] and "/".join(parts[2:4]) in hub.files:
            repository, folder = "/".join(parts[2:4]), "".join(f"{part}/" for part in parts[6:])
            whole = parse_qs(url.query).get("recursive", [""])[0].lower() in ("1", "true")
            entries = hub.entries(repository)
            below = [each for each in entries if each["path"].startswith(folder)]
            self.send_json(200, [each for each in below if whole or "/" not in each["path"][len(folder) :]])
        elif parts[4:5] == ["paths-info"] and "/".join(parts[2:4]) in hub.files:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            self.send_json(200, [each for each in hub.entries("/".join(parts[2:4])) if each["path"] in paths])
        elif parts[:2] in (["api", "models"], ["api", "datasets"]) and "/".join(parts[2:4]) in hub.files:
            self.send_json(200, hub.describe("/".join(parts[2:4]), sizes=True))
        elif len(parts) >= 5 and parts[2] == "resolve" and "/".join(parts[:2]) in hub.files:
            self.send_file("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self.send_json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def send_file(self, repository: str, name: str) -> None:
        content = self.hub.files[repository].get(name)
        if repository in self.hub.gated:
            self.send_json(403, {"error": "Access to model is restricted"}, {"X-Error-Code": "GatedRepo"})
            return
        if content is None:
            self.send_json(
                404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            )
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.hub.cut_after if name.endswith(".safetensors") and self.command == "GET" else None
        self.send(206 if start else 200, content[start:], headers, cut)

    def send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[:cut])
        self.wfile.flush()
        # The rest never comes; whoever waits for it is the one to be killed.
        while self.hub.cut_after is not None:
            time.sleep(0.02)
        self.close_connection = True

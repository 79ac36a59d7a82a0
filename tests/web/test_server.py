from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import LIMITS, Site

Ask = Callable[..., tuple[int, dict[str, str], bytes]]
_SESSIONS = itertools.count()


@pytest.fixture
def ask(site: Site) -> Ask:
    """Sends a request as it stands: status, headers and body of the answer."""
    place = urllib.parse.urlsplit(site.address).netloc

    def send(
        path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(place, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    return send


def upload(ask: Ask, name: str, content: bytes) -> tuple[int, bytes]:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    kind = "multipart/form-data; boundary=x"
    sent = head.encode() + content + b"\r\n--x--\r\n"
    status, _, body = ask("/gradio_api/upload", "POST", sent, Content_Type=kind)
    return status, body


def answer_to(ask: Ask, component: str, kind: str, data: list[Any]) -> tuple[bool, str]:
    """What the page says to an event: whether it worked, and all of its answer."""
    config = json.loads(ask("/config")[2])
    number = next(
        part["id"] for part in config["components"] if part["props"].get("elem_id") == component
    )
    event = next(d for d in config["dependencies"] if [number, kind] in d["targets"])
    session = f"test{next(_SESSIONS)}"
    call = {"data": data, "fn_index": event["id"], "session_hash": session}
    headers = {"Content_Type": "application/json"}
    status, _, body = ask("/gradio_api/queue/join", "POST", json.dumps(call).encode(), **headers)
    assert status == 200, body
    lines = ask(f"/gradio_api/queue/data?session_hash={session}")[2].decode().splitlines()
    messages = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    done = next(m for m in messages if m["msg"] == "process_completed")
    return done["success"], json.dumps(done["output"])


def file_data(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def test_page_asks_nothing_of_other_hosts(ask: Ask) -> None:
    status, headers, body = ask("/")
    assert status == 200
    page = body.decode()
    config = re.search(r"window\.gradio_config = (.*?);</script>", page)
    assert config is not None
    assert json.loads(config[1])["analytics_enabled"] is False
    named = re.findall(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']([^"']+)""", page)
    assert len(named) > 2
    assert not [address for address in named if "//" in address]
    assert "fonts.g" not in page + ask("/theme.css")[2].decode()
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self' data: blob:;")
    assert "http" not in policy and "*" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file={folder}/../../etc/passwd",
        "/gradio_api/file={folder}/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file={folder}/link",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file={here}",
        "/gradio_api/file={model}",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets//etc/passwd",
        "/svelte/../../../etc/passwd",
        "/../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_file_of_the_server_is_read(path: str, site: Site, ask: Ask) -> None:
    link = site.folder / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    model = Path(__file__).parents[2] / "centernet2" / "model_zoo" / "pedestrian" / "config.yaml"
    asked = path.format(folder=site.folder, here=Path(__file__).resolve(), model=model)
    status, _, body = ask(asked)
    assert status in (403, 404), body[:200]
    assert b"root:" not in body and b"import" not in body and b"MODEL" not in body


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/gradio_api/file={address}/x", "GET"),
        ("/gradio_api/proxy={address}/x", "GET"),
        ("/gradio_api/vibe-edit", "POST"),
        ("/gradio_api/vibe-code", "GET"),
        ("/gradio_api/vibe-starter-queries", "POST"),
        ("/gradio_api/process_recording", "POST"),
        ("/gradio_api/call/receive", "POST"),
        ("/gradio_api/run/predict", "POST"),
        ("/gradio_api/openapi.json", "GET"),
        ("/gradio_api/deep_link", "GET"),
        ("/gradio_api/runs", "GET"),
        ("/monitoring", "GET"),
        ("/docs", "GET"),
        ("/", "POST"),
        ("/", "DELETE"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(
    path: str, method: str, ask: Ask, listener: Listener
) -> None:
    status, _, _ = ask(path.format(address=listener.address), method, b"{}")
    assert status == 404
    assert listener.calls == 0


class Listener:
    """Counts who calls at a port of this machine."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


def test_paths_and_addresses_in_place_of_a_file(ask: Ask, site: Site, listener: Listener) -> None:
    picture = f"{listener.address}/x.png"
    for sent in (
        file_data("/etc/passwd"),
        file_data(f"{site.folder}/../../etc/passwd"),
        file_data("/etc/passwd", is_stream=True),
        file_data(picture),
        file_data(picture, url=picture),
        file_data(f"{listener.address}/x.mp4", is_stream=True),
        file_data("https://example.com/x.png"),
        file_data("x.png", url=picture),
        {"path": picture},
    ):
        worked, said = answer_to(ask, "upload", "upload", [sent, None])
        assert "passwd" not in said and "root:" not in said
        # refused by Gradio, or with a sentence of the page's own
        assert not worked or "drop it again" in said, (sent, said)
        # Gradio would fetch and copy it for any other component too
        answer_to(ask, "run", "click", [None, sent, "(none)", 0, None, 1, None])
    assert listener.calls == 0
    assert {"127.0.0.1", *site.looked_up} == {"127.0.0.1"}  # not even the name of a host
    copies = [file for file in site.folder.rglob("*") if file.name in ("passwd", "x.png", "x.mp4")]
    assert copies == []


def test_uploads_are_limited_and_looked_at(ask: Ask, site: Site) -> None:
    status, body = upload(ask, "../../a.png", b"no image")
    assert status == 200
    (path,) = json.loads(body)
    assert Path(path).is_relative_to(site.folder)
    worked, said = answer_to(ask, "upload", "upload", [file_data(path), None])
    assert worked
    assert "a.png: not an image or a video that can be read" in said
    assert str(site.folder) not in said

    before = sum(1 for file in site.folder.rglob("*") if file.is_file())
    assert upload(ask, "b.png", b"0" * (LIMITS.upload_bytes + 2**17))[0] == 413
    assert sum(1 for file in site.folder.rglob("*") if file.is_file()) == before
    status, _, _ = ask("/gradio_api/queue/join", "POST", b"0" * 2_000_000)
    assert status == 413


def test_other_sites_cannot_use_a_local_page(ask: Ask, site: Site) -> None:
    own = urllib.parse.urlsplit(site.address).netloc
    port = own.rpartition(":")[2]
    assert ask("/config", Host="evil.example")[0] == 421
    assert ask("/config", Host=f"evil.example:{port}")[0] == 421
    assert ask("/config", Host=f"localhost:{port}")[0] == 200
    assert ask("/config", Origin="https://evil.example")[0] == 403
    assert ask("/config", Origin="null")[0] == 403
    assert ask("/config", Origin=f"http://{own}")[0] == 200


def test_folder_of_uploads_is_private_and_goes_at_the_end(site: Site) -> None:
    from centernet2.web.server import private_folder

    assert site.folder.stat().st_mode & 0o077 == 0
    with private_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_uploads_without_a_length_are_cut(site: Site) -> None:
    place = urllib.parse.urlsplit(site.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {place.netloc}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="c.png"\r\n\r\n'
        connection.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(part), part))
        sent = 0
        try:
            while sent < 4 * LIMITS.upload_bytes:
                connection.sendall(b"10000\r\n" + b"0" * 0x10000 + b"\r\n")
                sent += 0x10000
            connection.sendall(b"0\r\n\r\n")
            said = connection.recv(100)
        except OSError:
            said = b""
    assert not said.startswith(b"HTTP/1.1 2")
    kept = [
        f for f in site.folder.rglob("*") if f.is_file() and f.stat().st_size > LIMITS.upload_bytes
    ]
    assert kept == []

"""What reaches the page's server, and what its answers may do in a browser.

Gradio's server can do more than this page asks of it (fetch addresses, describe its interface,
serve other programs), so only the ways that the page takes are let through.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)"
    r"|/(assets|static|svelte)/[^:]*"
    r"|/gradio_api/(startup-events|info|queue/data|upload_progress|heartbeat/\w+)"
    r"|/gradio_api/file=(?!\w+:)[^\0]*"  # of files, not of addresses
)
_WRITE = re.compile(r"/gradio_api/(queue/join|upload|cancel|reset)/?")
_UPLOAD = "/gradio_api/upload"
_SMALL = 1 << 20  # bytes of any other request
_FRAMING = 1 << 16  # bytes around the file in an upload

# The page may ask nothing of another host, nor be shown inside another page
_HEADERS = {
    b"content-security-policy": b"default-src 'self' data: blob:; script-src 'self' "
    b"'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    b"base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class Guard:
    """ASGI middleware before Gradio's application.

    Args:
        app: the application.
        hosts: names under which a browser may reach it, without ports; None: any. A list keeps
            other sites from reaching a local page under a name of theirs.
        upload_bytes: size of a file that may be sent.
    """

    def __init__(self, app: App, hosts: Sequence[str] | None, upload_bytes: int) -> None:
        self._app = app
        self._hosts = hosts
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, path = headers.get(b"host", ""), scope["path"]
        limit = _SMALL
        if path.rstrip("/") == _UPLOAD:
            limit = self._upload_bytes + _FRAMING
        length = headers.get(b"content-length", "0")
        if self._hosts is not None and host.rpartition(":")[0] not in self._hosts:
            await _refuse(send, 421, "this page does not go by that name")
        elif headers.get(b"origin", f"http://{host}").partition("://")[2] != host:
            await _refuse(send, 403, "this page takes no requests of other sites")
        elif not (_READ if scope["method"] in ("GET", "HEAD") else _WRITE).fullmatch(path):
            await _refuse(send, 404, "there is nothing here")
        elif scope["method"] not in ("GET", "HEAD", "POST"):
            await _refuse(send, 405, "there is nothing here")
        elif not length.isdigit() or int(length) > limit:
            await _refuse(send, 413, f"more than the {self._upload_bytes >> 20} MB taken here")
        else:
            await self._app(scope, _limited(receive, limit), _with_headers(send))


def _limited(receive: Receive, limit: int) -> Receive:
    """Ends a request that sends more than its header said, or said nothing."""
    left = limit

    async def read() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return read


def _with_headers(send: Send) -> Send:
    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = [pair for pair in message["headers"] if pair[0].lower() not in _HEADERS]
            message = {**message, "headers": [*there, *_HEADERS.items()]}
        await send(message)

    return write


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})

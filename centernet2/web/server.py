"""The page's server: a socket, a folder of its own for uploads, nothing asked of other hosts."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from centernet2.engine.environment import environment_set
from centernet2.errors import UserError
from centernet2.inference.detector import Detector
from centernet2.web.uploads import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_app", "is_loopback", "open_socket", "private_folder", "require_gradio", "serve"]

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


def require_gradio() -> None:
    """Check that the page's toolkit is installed.

    Raises:
        UserError: it is not.
    """
    # Read when the package is imported; it would tell its makers of this start
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        old = sys.version_info < (3, 10)
        needs = " with Python 3.10 or newer" if old else ""
        raise UserError(
            f"the web page needs the package {error.name}: pip install 'centernet2[web]'{needs}"
        ) from error


def open_socket(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: name or address of this machine.
        port: number; 0: any that is free.

    Raises:
        UserError: it is taken, not allowed, or no port of this machine.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port {port}: ports have numbers from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except socket.gaierror as error:
        raise UserError(f"--host {host}: no name or address of this machine") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UserError(
            f"port {port} of {host} cannot be used ({reason}): choose another one with --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for uploads and drawings, which no other user can read; removed at the end."""
    names = ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE")
    with tempfile.TemporaryDirectory(prefix="centernet2-web-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        with environment_set(dict.fromkeys(names, str(folder))):
            yield folder


def build_app(models: Mapping[str, Detector], limits: Limits, folder: Path, host: str) -> FastAPI:
    """Build the server's application.

    Args:
        models: by the name that the page shows.
        limits: of uploads.
        folder: of :func:`private_folder`.
        host: where it listens; decides by which names browsers may reach it.
    """
    import gradio as gr
    from fastapi import FastAPI

    from centernet2.web.guard import Guard
    from centernet2.web.page import build_page
    from centernet2.web.style import CSS, theme

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app = gr.mount_gradio_app(
        app,
        build_page(models, limits, folder),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.upload_bytes,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        allowed_paths=[],
        theme=theme(),
        css=CSS,
    )
    names = (*_LOCAL_NAMES, host) if is_loopback(host) else None
    app.add_middleware(Guard, hosts=names, upload_bytes=limits.upload_bytes)
    return app


def serve(models: Mapping[str, Detector], limits: Limits, listening: socket.socket) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        models: by the name that the page shows.
        limits: of uploads.
        listening: of :func:`open_socket`.
    """
    import uvicorn

    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    with private_folder() as folder:
        app = build_app(models, limits, folder, host)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
        print(f"CenterNet2 is at http://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
        uvicorn.Server(config).run(sockets=[listening])

"""A headless Chromium, driven over the DevTools protocol through a pipe; no package needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_SECONDS = 60.0  # until something is given up
_CONNECT = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str | None:
    """The browser, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """A tab of Chromium, driven over the DevTools protocol through a pipe."""

    def __init__(self, chromium: str, folder: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        # The pipe has to be file 3 and 4 of the browser
        command = [sys.executable, "-c", _CONNECT, str(theirs_in), str(theirs_out)]
        command += [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-dev-shm-usage", "--disable-background-networking"]
        command += ["--disable-component-update", "--window-size=1500,1100"]
        command += [f"--user-data-dir={folder}/profile", "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers, self._read = itertools.count(1), b""
        self._session: str | None = None
        self.asked: list[str] = []
        self.said: list[str] = []
        target = next(
            one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Network", "Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.downloads = folder / "downloads"
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], _SECONDS)
            assert ready, "the browser is silent"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser is gone"
            self._read += part
        first, _, self._read = self._read.partition(b"\0")
        return json.loads(first)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.said.append(params["entry"]["text"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"])[:500])

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.querySelector('#run')")

    def do(self, script: str) -> Any:
        """Value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait for an expression to be true."""
        end = time.monotonic() + _SECONDS
        while not (value := self.do(f"(() => {{ return !!({condition}); }})()")):
            assert time.monotonic() < end, f"{condition}: not so; {self.text('#status')}"
            time.sleep(0.05)
        return value

    def text(self, place: str) -> str:
        return self.do(f"document.querySelector({json.dumps(place)})?.innerText ?? ''")

    def send(self, path: Path, place: str = "#upload") -> None:
        """Choose a file for an upload, as a person would."""
        self.until(f"document.querySelector({json.dumps(place)} + ' input[type=file]')")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=f"{place} input[type=file]")
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])

    def set(self, place: str, value: object) -> None:
        """Type into an input."""
        self.until(f"document.querySelector({json.dumps(place)})")
        self.do(
            f"""(() => {{ const input = document.querySelector({json.dumps(place)});
            input.focus(); input.value = {json.dumps(value)};
            for (const kind of ['input', 'change'])
              input.dispatchEvent(new Event(kind, {{bubbles: true}})); }})()"""
        )

    def press(self, place: str) -> None:
        """Press the mouse where something is."""
        self.until(f"document.querySelector({json.dumps(place)})")
        script = f"""(() => {{ const box = document.querySelector({json.dumps(place)});
            box.scrollIntoView({{block: 'center'}}); const r = box.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        x, y = self.do(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click(self, place: str) -> None:
        """Press what is there."""
        self.until(f"document.querySelector({json.dumps(place)})")
        self.do(f"document.querySelector({json.dumps(place)}).click()")

    def picture(self, path: Path) -> None:
        """Save what the tab shows."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_SECONDS)
        os.close(self._in)
        os.close(self._out)

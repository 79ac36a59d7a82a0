from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from centernet2 import Detector
from centernet2.inference.predictor import Predictor
from centernet2.web.results import TABLE_COLUMNS

from .browser import Browser
from .conftest import LIMITS, Site

pytestmark = pytest.mark.slow


def source(browser: Browser, panel: int = 0) -> str:
    return browser.do(f"document.querySelector('#picture{panel} img')?.src ?? ''")


def changed(browser: Browser, before: str) -> str:
    """Wait for another drawing."""
    browser.until(
        f"document.querySelector('#picture0 img')?.naturalWidth && "
        f"document.querySelector('#picture0 img').src !== {json.dumps(before)}"
    )
    return source(browser)


def rows(browser: Browser, number: int, panel: int = 0) -> list[list[str]]:
    """The cells of a table, once it has this number of rows; names have no blanks here."""
    columns = len(TABLE_COLUMNS)
    browser.until(
        f"document.querySelector('#table{panel}').innerText.split(/\\s+/).filter(Boolean).length"
        f" == {columns * (number + 1)}"
    )
    words = browser.text(f"#table{panel}").split()
    return [words[i : i + columns] for i in range(columns, len(words), columns)]


def downloaded(browser: Browser, button: str) -> Path:
    before = set(browser.downloads.glob("*"))
    browser.do(
        f"(document.querySelector('{button} a') ?? document.querySelector('{button}')).click()"
    )
    end = time.monotonic() + 30
    while time.monotonic() < end:
        new = [p for p in set(browser.downloads.glob("*")) - before if p.suffix != ".crdownload"]
        if new:
            return new[0]
        browser.do("1")
        time.sleep(0.05)
    raise AssertionError(f"{button} gave no file")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images given to networks, call by call."""
    seen: list[int] = []
    real = Predictor.__call__

    def call(self: Predictor, images: Any) -> Any:
        seen.append(len(images))
        return real(self, images)

    monkeypatch.setattr(Predictor, "__call__", call)
    return seen


def test_an_image_is_shown_filtered_and_handed_out(
    site: Site, browser: Browser, frame: Callable[..., Path], detector: Detector, calls: list[int]
) -> None:
    street = frame("street.png", 120)
    (everything,) = detector(street)
    calls.clear()
    expected = everything[everything.scores >= 0.5]
    assert 0 < len(expected) < len(everything)

    browser.open(site.address)
    browser.send(street)
    first = changed(browser, "")
    assert calls == [1, 1]  # two models
    assert browser.text("#status").endswith("street.png: 640 × 272")
    browser.until("document.querySelector('#head1')?.innerText.includes('twin')")
    assert f"{len(expected)} person" in browser.text("#head0")
    listed = rows(browser, len(expected))
    beside = rows(browser, len(expected), panel=1)
    assert [row[2:] for row in beside] == [row[2:] for row in listed]
    assert [row[:3] for row in listed] == [
        [str(n), "person", f"{score:.3f}".rstrip("0")] for n, score in enumerate(expected.scores, 1)
    ]

    drawn = downloaded(browser, "#image-file0")
    assert (drawn.name, drawn.read_bytes()[:2]) == ("street-detected.jpg", b"\xff\xd8")
    coco = json.loads(downloaded(browser, "#coco-file0").read_text())
    assert coco["images"] == [{"id": 1, "file_name": "street.png", "width": 640, "height": 272}]
    entries = expected.to_coco(1)
    assert [{k: a[k] for k in entries[0]} for a in coco["annotations"]] == entries

    browser.set("#threshold input[type=range]", 0.05)
    second = changed(browser, first)
    browser.until(
        f"document.querySelector('#head0').innerText.includes('{len(everything)} person')"
    )
    rows(browser, len(everything))
    browser.click("#masks input")
    third = changed(browser, second)

    browser.press("#classes input")
    browser.press("[role=option][aria-label=rider]")
    changed(browser, third)
    browser.until("document.querySelector('#head0').innerText.includes('nothing found')")
    riders = rows(browser, len(everything) // 2, panel=1)
    assert {row[1] for row in riders} == {"rider"}
    assert calls == [1, 1]  # what was found once is only drawn again

    # Nothing was asked of anyone else, and the page has nothing to complain about
    own = (site.address, "data:", f"blob:{site.address}", "about:blank")
    assert [address for address in browser.asked if not address.startswith(own)] == []
    assert browser.said == []


def test_broken_uploads_are_one_sentence_in_the_page(
    site: Site, browser: Browser, tmp_path: Path
) -> None:
    broken = tmp_path / "<img src=x onerror=document.title=1>.png"
    broken.write_text("no image")
    browser.open(site.address)
    browser.send(broken)
    browser.until("document.querySelector('#status [role=alert]')")
    said = browser.text("#status [role=alert]")
    assert said.endswith(
        ".png: not an image or a video that can be read; take a JPEG, PNG or MP4 file"
    )
    assert browser.do("document.querySelectorAll('#status img').length") == 0
    assert browser.do("document.title") == "CenterNet2"

    browser.open(site.address)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(LIMITS.upload_bytes + 1))
    browser.send(large)
    browser.until("document.body.innerText.includes('exceed the maximum allowed size of 2.0 M')")

    browser.open(site.address)
    browser.click("#run")
    browser.until("document.querySelector('#status [role=alert]')")
    assert browser.text("#status [role=alert]") == "drop an image or a video first"


def test_a_part_of_a_video_is_drawn_and_played(
    site: Site, browser: Browser, street_video: Path, calls: list[int]
) -> None:
    browser.open(site.address)
    browser.send(street_video)
    browser.until("document.querySelector('#status').innerText.includes('10.0 s, 25 frames/s')")
    browser.until("document.querySelector('#end input')?.value == '10'")
    browser.set("#start input", 4)
    browser.set("#end input", 5)
    browser.set("#every input", 12)
    browser.click("#run")
    browser.until("document.querySelector('#video1 video')?.videoWidth")
    assert calls == [1, 1, 1] * 2
    assert browser.do("document.querySelector('#video0 video').duration") == pytest.approx(
        1, abs=0.01
    )
    assert "frame 100, 4.00 s" in browser.text("#head0")
    assert "s/frame" in browser.text("#head0") or "frames/s" in browser.text("#head0")

    before = source(browser)
    browser.set("#place input[type=range]", 2)
    changed(browser, before)
    browser.until("document.querySelector('#head0').innerText.includes('frame 124, 4.96 s')")
    coco = json.loads(downloaded(browser, "#coco-file0").read_text())
    assert [(i["id"], i["time"]) for i in coco["images"]] == [(100, 4.0), (112, 4.48), (124, 4.96)]

    browser.set("#end input", 40)
    browser.set("#start input", 20)
    browser.click("#run")
    browser.until("document.querySelector('#status [role=alert]')")
    assert browser.text("#status [role=alert]") == (
        "bikes.mp4: holds nothing from 20 s on: it lasts 10 s"
    )
    assert len(calls) == 6

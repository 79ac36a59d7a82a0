"""What the page answers: to an upload, to "Find objects", to each change of the controls.

Each answer is a dictionary of the components that change. Nothing that a browser sends is trusted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from centernet2.errors import UserError
from centernet2.inference.detector import Detector
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.inference.images import save_picture
from centernet2.web.components import START, Controls, Panel, note
from centernet2.web.results import LOWEST_SCORE, Look, coco_document, in_words, table
from centernet2.web.uploads import Limits, check_stretch, check_upload, named_plainly
from centernet2.web.work import Step, Work, draw_picture, draw_video, look_at

__all__ = ["KEPT", "Answers", "Shown"]

KEPT = 3600  # seconds that uploads, findings and drawings are kept

Answer = dict[Any, Any]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a visitor has before him: findings, and the folders of what was made of them."""

    works: tuple[Work, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def is_video(self) -> bool:
        """Whether there are findings, of a video."""
        return bool(self.works) and self.works[0].upload.is_video


class Answers:
    """Handlers of the page's events.

    Args:
        models: by name.
        limits: of uploads.
        folder: where uploads lie and drawings go.
        controls: of the page.
        panels: for one model each.
        status: the line of text above them.
        shown: a visitor's state, a :class:`Shown`.
        place: the number of the picture of a video that is shown.
        redraw: asks for the video to be drawn again.
    """

    def __init__(
        self,
        models: Mapping[str, Detector],
        limits: Limits,
        folder: Path,
        controls: Controls,
        panels: Sequence[Panel],
        status: gr.HTML,
        shown: gr.State,
        place: gr.Slider,
        redraw: gr.Button,
    ) -> None:
        self._models = models
        self._limits = limits
        self._folder = folder
        self._controls = controls
        self._panels = panels
        self._status = status
        self._shown = shown
        self._place = place
        self._redraw = redraw

    def receive(self, sent: str | None, before: Shown) -> Answer:
        """To a file: what it is. A video waits, as a part of it may be chosen."""
        if sent is None:
            return {**self._cleared(before), self._status: note(START)}
        try:
            taken = check_upload(sent, self._folder, self._limits)
        except UserError as error:
            return {**self._cleared(before), self._status: note(str(error), "problem")}
        hint = ". Choose a part of it, or find objects in all of it." if taken.is_video else ""
        return {
            **self._cleared(before),
            self._status: note(taken.text + hint),
            self._controls.stretch: gr.update(visible=taken.is_video),
            self._controls.start: 0,
            self._controls.end: math.ceil(100 * (taken.seconds or 0)) / 100,
            self._controls.every: 1,
        }

    def find_on_image(self, sent: str | None, *rest: Any) -> Iterator[Answer]:
        """To a file or another model: run the networks, unless it is a video."""
        try:
            video = sent is None or check_upload(sent, self._folder, self._limits).is_video
        except UserError:  # which `receive` has told
            video = True
        if video:
            yield {self._status: gr.skip()}
        else:
            yield from self.find(sent, *rest)

    def find(
        self,
        sent: str | None,
        first: str,
        second: str,
        start: float | None,
        end: float | None,
        every: float | None,
        before: Shown,
    ) -> Iterator[Answer]:
        """To "Find objects": run the networks."""
        controls = self._controls
        try:
            if sent is None:
                raise UserError("drop an image or a video first")
            taken = check_upload(sent, self._folder, self._limits)
            excerpt = WHOLE
            if taken.is_video:
                excerpt = _excerpt(start, end, every)
                check_stretch(taken.path, excerpt, self._limits)
            chosen = {n: self._models[n] for n in (first, second) if n in self._models}
            if not chosen:
                raise UserError("choose a model")
            works: tuple[Work, ...] = ()
            for answer in look_at(taken, chosen, excerpt, self._limits):
                if isinstance(answer, Step):
                    yield {
                        self._status: note(answer.text, "step", answer.part),
                        controls.stop: gr.update(visible=taken.is_video),
                    }
                else:
                    works = tuple(answer)
        except UserError as error:
            yield {**self._cleared(before), self._status: note(str(error), "problem")}
            return
        _remove(before.folders)
        frames = len(works[0].pictures)
        names = {name for work in works for kept in work.pictures for name in kept.found.names}
        yield {
            self._status: note(taken.text),
            self._shown: Shown(works),
            self._place: gr.update(
                maximum=max(frames - 1, 1), value=0, visible=taken.is_video and frames > 1
            ),
            controls.classes: gr.update(choices=sorted(names), value=[]),
            controls.stop: gr.update(visible=False),
        }

    def stopped(self) -> Answer:
        """To "Stop"."""
        return {
            self._status: note("Stopped."),
            self._controls.stop: gr.update(visible=False),
        }

    def show(
        self, now: Shown, least: float, classes: Sequence[str], masks: bool, place: float
    ) -> Answer:
        """To each change of what is to be shown: draw it; no network runs."""
        if not now.works:
            return {self._status: gr.skip()}
        look = _look(least, classes, masks)
        number = min(max(int(place or 0), 0), len(now.works[0].pictures) - 1)
        made = self._new_folder()
        answer: Answer = {}
        try:
            for panel, work in zip(self._panels, now.works):
                answer.update(_filled(panel, work, number, look, made))
        except UserError as error:
            return {self._status: note(str(error), "problem")}
        for panel in self._panels[len(now.works) :]:
            answer[panel.column] = gr.update(visible=False)
        _remove(now.folders[:-1])  # the browser may be fetching the last one still
        answer[self._shown] = Shown(now.works, (*now.folders[-1:], made))
        answer[self._redraw] = gr.update(visible=now.is_video)
        return answer

    def draw(
        self,
        now: Shown,
        least: float,
        classes: Sequence[str],
        masks: bool,
    ) -> Iterator[Answer]:
        """To findings in a video, and to "Draw the video like this": draw all of it."""
        if not now.is_video:
            yield {self._status: gr.skip()}
            return
        look, made = _look(least, classes, masks), self._new_folder()
        answer: Answer = {}
        problems: list[str] = []
        for number, (panel, work) in enumerate(zip(self._panels, now.works)):
            yield {self._status: note(f"Drawing what {work.model} found", "step")}
            target = made / str(number) / f"{work.upload.path.stem}-detected.mp4"
            try:
                problems += draw_video(work, look, target)
            except UserError as error:
                yield {self._status: note(str(error), "problem")}
                return
            answer[panel.video] = gr.update(value=str(target), visible=True)
        text = ". ".join([now.works[0].upload.text, *dict.fromkeys(problems)])
        answer[self._status] = note(text)
        answer[self._redraw] = gr.update(visible=False)
        yield answer

    def _new_folder(self) -> Path:
        """A folder for drawings; those that are kept no longer go."""
        latest = time.time() - KEPT
        for old in self._folder.glob("made-*"):
            with suppress(FileNotFoundError):  # which another visitor's answer has removed
                if old.stat().st_mtime < latest:
                    _remove([old])
        return Path(tempfile.mkdtemp(prefix="made-", dir=self._folder))

    def _cleared(self, before: Shown) -> Answer:
        _remove(before.folders)
        hidden = gr.update(visible=False)
        parts = (self._controls.stretch, self._controls.stop, self._place, self._redraw)
        answer: Answer = dict.fromkeys(parts, hidden)
        for panel in self._panels:
            answer[panel.column] = hidden
            answer[panel.video] = gr.update(value=None, visible=False)
        answer[self._controls.classes] = gr.update(choices=[], value=[])
        answer[self._shown] = Shown()
        return answer


def _look(least: Any, classes: Any, masks: Any) -> Look:
    return Look(max(float(least), LOWEST_SCORE), tuple(map(str, classes or ())), bool(masks))


def _excerpt(start: float | None, end: float | None, every: float | None) -> Excerpt:
    until = Fraction(end).limit_denominator(1000) if end else None  # 0: not told by the file
    return Excerpt(Fraction(start or 0).limit_denominator(1000), until, int(every or 1))


def _filled(panel: Panel, work: Work, number: int, look: Look, folder: Path) -> Answer:
    """What a panel shows of a model, and the files it offers."""
    drawing, kept = draw_picture(work, number, look)
    names = {
        "image": f"{work.upload.path.stem}-detected.jpg",
        "coco": f"{work.upload.path.stem}.json",
    }
    place = Path(tempfile.mkdtemp(dir=folder))
    with named_plainly(place / names["image"]):
        save_picture(drawing, place / names["image"])
    document = coco_document([picture.chosen(look) for picture in work.pictures], work.upload.path)
    (place / names["coco"]).write_text(json.dumps(document), encoding="utf-8")
    source = kept.found.source
    where = ""
    if source.frame is not None:
        where = f"<span>frame {source.frame}, {source.time or 0:.2f} s</span>"
    head = (
        f'<div class="found"><b>{escape(in_words(kept.found))}</b>{where}'
        f"<span>{escape(work.model)}: {escape(work.rate)}</span></div>"
    )
    image = str(place / names["image"])
    return {
        panel.column: gr.update(visible=True),
        panel.head: head,
        panel.picture: image,
        panel.image_file: image,
        panel.coco_file: str(place / names["coco"]),
        panel.table: table(kept.found),
    }


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)

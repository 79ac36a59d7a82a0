"""What the page consists of: controls on the left, what each model found on the right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from centernet2.web.results import LOWEST_SCORE, TABLE_COLUMNS
from centernet2.web.uploads import Limits

__all__ = ["NO_MODEL", "START", "Controls", "Panel", "note", "title"]

NO_MODEL = "(none)"
START = "Drop an image or a video on the left."


def note(text: str, kind: str = "note", part: float | None = None) -> str:
    """A line of text for the page.

    Args:
        text: any; nothing in it counts as HTML.
        kind: "note", "step" or "problem".
        part: of the work that is done, 0 to 1, drawn as a bar.
    """
    role = "alert" if kind == "problem" else "status"
    bar = "" if part is None else f'<progress max="1" value="{part:.3f}"></progress>'
    return f'<div class="{kind}" role="{role}">{escape(text)}{bar}</div>'


def title(models: Sequence[str], limits: Limits) -> str:
    """The head of the page."""
    what = f"{models[0]} on your images and videos" if len(models) == 1 else "Models compared"
    return (
        f"<h1>CenterNet2</h1><p>{escape(what)}. Files of up to {limits.upload_mb} MB, videos of up "
        f"to {limits.video_seconds} s; they stay on this machine.</p>"
    )


@dataclasses.dataclass(frozen=True)
class Controls:
    """What a user sets."""

    upload: gr.File
    stretch: gr.Group
    start: gr.Number
    end: gr.Number
    every: gr.Number
    first: gr.Dropdown
    second: gr.Dropdown
    run: gr.Button
    stop: gr.Button
    threshold: gr.Slider
    classes: gr.Dropdown
    masks: gr.Checkbox

    @classmethod
    def build(cls, models: Sequence[str], several_classes: bool, masks: bool) -> Controls:
        """Add them to the page.

        Args:
            models: names; the first two are chosen at the start.
            several_classes: whether any of them knows more than one.
            masks: whether any of them finds masks.
        """
        several = len(models) > 1
        upload = gr.File(label="Image or video", height=150, elem_id="upload")
        with gr.Group(visible=False) as stretch:
            with gr.Row():
                start = gr.Number(0, label="From second", minimum=0, min_width=80, elem_id="start")
                end = gr.Number(0, label="To second", minimum=0, min_width=80, elem_id="end")
            every = gr.Number(1, label="Every n-th frame", minimum=1, precision=0, elem_id="every")
        first = gr.Dropdown(
            list(models), value=models[0], label="Model", visible=several, elem_id="first"
        )
        second = gr.Dropdown(
            [NO_MODEL, *models],
            value=models[1] if several else NO_MODEL,
            label="Beside it",
            visible=several,
            elem_id="second",
        )
        run = gr.Button("Find objects", variant="primary", elem_id="run")
        stop = gr.Button("Stop", visible=False, elem_id="stop")
        threshold = gr.Slider(
            LOWEST_SCORE, 1, 0.5, step=0.01, label="Least score", elem_id="threshold"
        )
        classes = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            label="Classes (none chosen: all)",
            visible=several_classes,
            elem_id="classes",
        )
        shown = gr.Checkbox(True, label="Masks", visible=masks, elem_id="masks")
        return cls(
            upload, stretch, start, end, every, first, second, run, stop, threshold, classes, shown
        )

    @property
    def work(self) -> list[Any]:
        """What decides what is looked at."""
        return [self.upload, self.first, self.second, self.start, self.end, self.every]

    @property
    def look(self) -> list[Any]:
        """What decides what is shown of it."""
        return [self.threshold, self.classes, self.masks]


@dataclasses.dataclass(frozen=True)
class Panel:
    """What is shown of one model."""

    column: gr.Column
    head: gr.HTML
    picture: gr.Image
    video: gr.Video
    image_file: gr.DownloadButton
    coco_file: gr.DownloadButton
    table: gr.Dataframe

    @classmethod
    def build(cls, number: int) -> Panel:
        """Add one to the page; ``number`` tells it from the others."""
        with gr.Column(visible=False, min_width=300) as column:
            head = gr.HTML(elem_id=f"head{number}")
            picture = gr.Image(
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_id=f"picture{number}",
                elem_classes="drawing",
                alt_text="what was found",
            )
            video = gr.Video(
                show_label=False,
                interactive=False,
                visible=False,
                buttons=["download"],
                elem_id=f"video{number}",
                elem_classes="drawing",
            )
            with gr.Row():
                image_file = gr.DownloadButton(
                    "Annotated image", size="sm", elem_id=f"image-file{number}"
                )
                coco_file = gr.DownloadButton("COCO JSON", size="sm", elem_id=f"coco-file{number}")
            table = gr.Dataframe(
                headers=list(TABLE_COLUMNS),
                datatype="auto",
                interactive=False,
                show_label=False,
                max_height=360,
                buttons=["copy"],
                elem_id=f"table{number}",
            )
        return cls(column, head, picture, video, image_file, coco_file, table)

    @property
    def parts(self) -> list[Any]:
        """All of it."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

"""The page: how it is laid out, and which event has which answer."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from centernet2.inference.detector import Detector
from centernet2.web.answers import KEPT, Answers, Shown
from centernet2.web.components import START, Controls, Panel, note, title
from centernet2.web.uploads import Limits

__all__ = ["build_page"]

_PANELS = 2


def build_page(models: Mapping[str, Detector], limits: Limits, folder: Path) -> gr.Blocks:
    """Build the page.

    Args:
        models: by the name that is shown; the first two are chosen at the start.
        limits: of uploads.
        folder: where uploads lie and drawings go.
    """
    classes = {name for detector in models.values() for name in detector.class_names}
    masks = any(detector.predictor.finds_masks for detector in models.values())
    with gr.Blocks(title="CenterNet2", analytics_enabled=False, delete_cache=(300, KEPT)) as page:
        gr.HTML(title(list(models), limits), elem_id="title")
        shown = gr.State(Shown(), time_to_live=KEPT)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=290):
                controls = Controls.build(list(models), len(classes) > 1, masks)
            with gr.Column(scale=4, min_width=320):
                status = gr.HTML(note(START), elem_id="status")
                place = gr.Slider(
                    0, 1, 0, step=1, label="Picture", visible=False, buttons=[], elem_id="place"
                )
                with gr.Row(equal_height=False):
                    panels = [Panel.build(number) for number in range(_PANELS)]
                redraw = gr.Button("Draw the video like this", visible=False, elem_id="redraw")
        answers = Answers(models, limits, folder, controls, panels, status, shown, place, redraw)
        _connect(answers, controls, panels, status, shown, place, redraw)
    _confine(page, folder)
    return page


def _connect(
    answers: Answers,
    controls: Controls,
    panels: list[Panel],
    status: gr.HTML,
    shown: gr.State,
    place: gr.Slider,
    redraw: gr.Button,
) -> None:
    usual: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    parts = [part for panel in panels for part in panel.parts]
    everything = [
        *(status, shown, place, redraw, controls.stretch, controls.stop, controls.classes),
        *(controls.start, controls.end, controls.every),
        *parts,
    ]
    work = [*controls.work, shown]
    look = [shown, *controls.look]
    networks = {**usual, "concurrency_limit": 1, "concurrency_id": "networks"}

    received = gr.on(
        [controls.upload.upload, controls.upload.clear],
        answers.receive,
        [controls.upload, shown],
        everything,
        **usual,
    )
    runs = [
        received.then(answers.find_on_image, work, everything, **networks),
        gr.on(
            [controls.first.input, controls.second.input],
            answers.find_on_image,
            work,
            everything,
            **networks,
        ),
        controls.run.click(answers.find, work, everything, **networks),
    ]
    following = []
    for run in runs:
        first = run.then(answers.show, [*look, place], everything, **usual)
        following += [first, first.then(answers.draw, look, everything, **usual)]
    controls.stop.click(
        answers.stopped, None, [status, controls.stop], cancels=[*runs, *following], **usual
    )
    changes = [part.input for part in (*controls.look, place)]
    gr.on(changes, answers.show, [*look, place], everything, trigger_mode="always_last", **usual)
    redraw.click(answers.draw, look, everything, **usual)


def _confine(page: gr.Blocks, folder: Path) -> None:
    """Keep Gradio from fetching or copying what a browser names instead of sending it.

    It looks for paths and addresses in each value that comes from a browser, whatever component
    the value is for, and checks them only in pages that it has launched itself.
    """
    page.has_launched = page.is_running = True
    for block in page.blocks.values():
        setattr(block, block.async_move_resource_to_block_cache.__name__, _only_in(folder))


def _only_in(folder: Path) -> Callable[[str | Path | None], Awaitable[str | None]]:
    async def move(sent: str | Path | None) -> str | None:
        if sent is not None and not Path(os.path.realpath(sent)).is_relative_to(folder):
            raise gr.Error("this page takes files, not paths and addresses", print_exception=False)
        return os.path.realpath(sent) if sent is not None else None

    return move

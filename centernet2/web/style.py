"""How the page looks: fonts of the reader's own system, light and dark."""

from __future__ import annotations

import gradio as gr

__all__ = ["CSS", "theme"]

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

CSS = """
.gradio-container {max-width: 1680px !important; margin: 0 auto !important;}
.gradio-container, .gradio-container > main, .gradio-container .wrap {width: 100%;}
#title, #status, [id^=head] {padding: 0 !important;}
:is(#title, #status, [id^=head]) .html-container {padding: 0;}
#title h1 {font-size: 1.55rem; font-weight: 700; letter-spacing: -0.01em; margin: 0;}
#title p {margin: 0.2rem 0 0;}
#title p, .found span {color: var(--block-label-text-color);}
.note, .problem, .step {padding: 0.6rem 0.9rem; border-radius: 8px; line-height: 1.45;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  overflow-wrap: anywhere;}
.problem {border-color: #dc2626; background: rgba(220, 38, 38, 0.1); font-weight: 600;}
.step progress {appearance: none; width: 100%; height: 6px; display: block; margin-top: 0.45rem;
  border: 0; border-radius: 3px; background: var(--border-color-primary);}
.step progress::-webkit-progress-bar {background: transparent;}
.step progress::-webkit-progress-value {background: var(--color-accent); border-radius: 3px;}
.step progress::-moz-progress-bar {background: var(--color-accent); border-radius: 3px;}
.found {display: flex; flex-wrap: wrap; gap: 0.2rem 0.9rem; align-items: baseline;
  overflow-wrap: anywhere;}
.found b {font-size: 1.05rem;}
.drawing img, .drawing video {object-fit: contain; max-height: 72vh;}
"""


def theme() -> gr.themes.Base:
    """Colours, sizes and fonts; none of them fetched from anywhere."""
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=[gr.themes.Font(name) for name in _SANS],
        font_mono=[gr.themes.Font(name) for name in _MONO],
    ).set(
        body_background_fill="*neutral_50",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_shadow="none",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
    )

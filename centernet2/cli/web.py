"""``centernet2 web``: a page in the browser that shows what models find."""

from __future__ import annotations

import argparse
import sys

from centernet2.cli.arguments import new_parser, positive
from centernet2.cli.ending import exit_status
from centernet2.inference.detector import Detector
from centernet2.inference.zoo import everyday_models, shipped_models
from centernet2.web.results import LOWEST_SCORE
from centernet2.web.server import is_loopback, open_socket, require_gradio, serve
from centernet2.web.uploads import Limits

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  the models that are here; open the address that is printed:
    centernet2 web
  two models side by side, of your own training runs:
    centernet2 web output/first output/second

Uploads stay on this machine, in a folder that is removed at the end. The page asks nothing of
other hosts. It needs the extra: pip install 'centernet2[web]' (Python 3.10 or newer).

exit status: 0 ended by Ctrl-C, 2 a mistake in the options, 143 ended by SIGTERM.
"""
_USUAL = Limits()


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 web", "Drop images and videos on a page, see what models find.", _EXAMPLES
    )
    parser.add_argument(
        "models",
        nargs="*",
        default=everyday_models(),
        metavar="MODEL",
        help=f"a shipped model ({', '.join(shipped_models())}), a config file, or the folder of a "
        f"training run; the page compares two of them (default: {' '.join(everyday_models())})",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; any but the usual one lets others in (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="0: any that is free (default: %(default)s)"
    )
    parser.add_argument(
        "--max-upload-mb",
        type=positive,
        default=_USUAL.upload_mb,
        metavar="N",
        help="size of a file (default: %(default)s)",
    )
    parser.add_argument(
        "--max-video-seconds",
        type=positive,
        default=_USUAL.video_seconds,
        metavar="N",
        help="length of a video, or of the part that is looked at (default: %(default)s)",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the models' configurations; comes last",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _web(args))


def _web(args: argparse.Namespace) -> int:
    require_gradio()
    limits = Limits(args.max_upload_mb, args.max_video_seconds)
    with open_socket(args.host, args.port) as listening:
        names = dict.fromkeys(args.models)
        models = {
            name: Detector(name, None, args.device, LOWEST_SCORE, opts=args.opts) for name in names
        }
        if not is_loopback(listening.getsockname()[0]):
            print(
                f"warning: with --host {args.host} everyone who reaches this machine can use the "
                "page; it asks for no password",
                file=sys.stderr,
            )
        try:
            serve(models, limits, listening)
        except KeyboardInterrupt:  # the way to end it
            print("ended")
    return 0

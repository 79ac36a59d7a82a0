"""Training, evaluation and resuming of detectors."""

from centernet2.engine.checkpoint import Checkpointer, load_weights_file
from centernet2.engine.defaults import argument_parser, build_cfg, setup
from centernet2.engine.evaluate import evaluate_checkpoint
from centernet2.engine.launch import launch
from centernet2.engine.signals import TrainingInterrupted
from centernet2.engine.trainer import Trainer

__all__ = [
    "Checkpointer",
    "Trainer",
    "TrainingInterrupted",
    "argument_parser",
    "build_cfg",
    "evaluate_checkpoint",
    "launch",
    "load_weights_file",
    "setup",
]

"""Measuring detections against ground truth."""

from centernet2.evaluation.build import build_evaluator
from centernet2.evaluation.coco import CocoEvaluator, LvisEvaluator

__all__ = ["CocoEvaluator", "LvisEvaluator", "build_evaluator"]

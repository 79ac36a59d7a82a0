"""Measuring detections against ground truth."""

from centernet2.evaluation.build import CocoEvaluator, build_evaluator

__all__ = ["CocoEvaluator", "build_evaluator"]

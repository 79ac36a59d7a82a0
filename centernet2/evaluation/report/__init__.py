"""A report on a set of detections, from an annotation file and a results file alone."""

from centernet2.evaluation.report.build import write_report

__all__ = ["write_report"]

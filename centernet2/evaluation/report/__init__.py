"""A report on a set of detections, from an annotation file and a results file alone."""

from centernet2.evaluation.report.build import write_report
from centernet2.evaluation.report.pictures import Draw

__all__ = ["Draw", "write_report"]

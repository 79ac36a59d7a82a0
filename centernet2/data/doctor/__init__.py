"""Finds what is wrong with a data set in COCO's or LVIS's format, before training does."""

from centernet2.data.doctor.check import check_dataset
from centernet2.data.doctor.findings import Finding, Report
from centernet2.data.doctor.kinds import KINDS, Kind

__all__ = ["KINDS", "Finding", "Kind", "Report", "check_dataset"]

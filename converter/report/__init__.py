"""The report of a conversion: one HTML page that opens anywhere, and its figures as JSON."""

from __future__ import annotations

from .data import Engine, Layer, ReportData
from .page import page
from .pictures import Pair, Pictures
from .write import write_report

__all__ = ["Engine", "Layer", "Pair", "Pictures", "ReportData", "page", "write_report"]

"""Keccak-256 and the report log's commitment."""

from .keccak import Keccak256
from .report_log import ReportLog

__all__ = ["Keccak256", "ReportLog"]

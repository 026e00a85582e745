"""Keccak-256 and the report log's commitment."""

from .keccak import Keccak256
from .keccak_serial import Keccak256Serial
from .report_log import CORES, ReportLog

__all__ = ["CORES", "Keccak256", "Keccak256Serial", "ReportLog"]

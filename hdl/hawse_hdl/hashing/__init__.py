"""Keccak-256 and the report log's commitment."""

from .keccak import Keccak256

__all__ = ["Keccak256"]

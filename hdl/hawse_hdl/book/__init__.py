"""The matching engine."""

from .book import Book

__all__ = ["Book"]

"""What a trader's program needs: signed commands, sessions, streams that resume, a verified book.

``async with Client("http://127.0.0.1:8080", key) as client``; ``docs/trader.md`` shows it.
"""

from .book import Book
from .client import Client
from .errors import ClientError, Refused, Unreachable

__all__ = ["Book", "Client", "ClientError", "Refused", "Unreachable"]

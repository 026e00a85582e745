"""The board's end of the link: UART, frames, CRC, and delivery in order without loss."""

from .deframer import Deframer
from .endpoint import Endpoint
from .framer import Framer

__all__ = ["Deframer", "Endpoint", "Framer"]

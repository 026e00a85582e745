"""The board's end of the link: UART, frames, CRC, and delivery in order without loss."""

from .deframer import Deframer
from .endpoint import Endpoint
from .framer import Framer
from .uart import UART, margin

__all__ = ["UART", "Deframer", "Endpoint", "Framer", "margin"]

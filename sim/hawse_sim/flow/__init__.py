"""Order flow: a real capture, and generated flows."""

from .capture import Capture, CaptureMissing, load_capture, tape
from .flow import Flow
from .generated import generate

__all__ = ["Capture", "CaptureMissing", "Flow", "generate", "load_capture", "tape"]

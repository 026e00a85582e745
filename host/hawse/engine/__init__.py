"""Engines: anything that turns commands into reports by the matching rules, and the driver around them."""

from .backend import Backend, Batch, Beats, EngineError, Fence, split
from .golden import GoldenBackend

__all__ = ["Backend", "Batch", "Beats", "EngineError", "Fence", "GoldenBackend", "split"]

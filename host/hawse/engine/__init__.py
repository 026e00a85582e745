"""Engines: anything that turns commands into reports by the matching rules, and the driver around them."""

from .backend import Backend, Batch, Beats, EngineError, EngineLost, Fence, split
from .engine import Band, Burst, DriverRefusal, Engine, even_window
from .golden import GoldenBackend
from .link import EngineReset, EpochTooLow, LinkBackend, LinkLost, LinkTimeout, LinkVersionMismatch
from .native.bindings import MIRROR
from .native.build import BuildError
from .soft import SoftBackend

__all__ = [
    "MIRROR",
    "Backend",
    "Band",
    "Batch",
    "Beats",
    "BuildError",
    "Burst",
    "DriverRefusal",
    "Engine",
    "EngineError",
    "EngineLost",
    "EngineReset",
    "EpochTooLow",
    "Fence",
    "GoldenBackend",
    "LinkBackend",
    "LinkLost",
    "LinkTimeout",
    "LinkVersionMismatch",
    "SoftBackend",
    "even_window",
    "split",
]

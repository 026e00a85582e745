"""The software engine: native C++, for validators, replay and comparison."""

from hawse.wire import Geometry
from hawse.wire.dtypes import Array

from .backend import check_commands
from .native.bindings import Soft


class SoftBackend:
    """The native matching engine; the library is compiled on first use. Sideband is zero.

    Args:
        geometry: the default one, if none is given.
        no_band: has that feature: STATE(loading) with a count of zero is taken, and the instrument then holds
            any price. Without it the engine says what gateware says.
        gate: has that feature: LIMIT is taken, and commands are judged by the limits.

    Raises:
        BuildError: there is no working C++ compiler.
        EngineError: not enough memory for the geometry.
    """

    name = "soft"

    def __init__(
        self, geometry: Geometry | None = None, *, no_band: bool = False, gate: bool = False
    ) -> None:
        self.geometry = geometry or Geometry()
        self._engine = Soft(self.geometry, no_band, gate)

    @property
    def native(self) -> Soft:
        """What it is."""
        return self._engine

    def reset(self, epoch: int) -> None:
        """See :class:`~hawse.engine.backend.Backend`."""
        self._engine.reset(epoch)

    def exchange(self, commands: Array) -> Array:
        """See :class:`~hawse.engine.backend.Backend`."""
        return self._engine.exchange(check_commands(commands))

    def board_epoch(self) -> int:
        """0: it begins and ends with this process."""
        return 0

    def close(self) -> None:
        """See :class:`~hawse.engine.backend.Backend`."""
        self._engine.close()

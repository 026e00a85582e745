"""Two engines behind the C interface of a public benchmark, as shared libraries.

``abi.h`` is the interface. One library holds the driver and the Verilated Core, the other driver and
software engine in one; neither needs Python to run. ``python -m hawse_sim.abi`` builds them.
"""

from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring
from hawse.engine.native import build
from hawse.wire import Geometry
from hawse_hdl.core import Core

from hawse_sim.verilate import announce_build, build_library

#: Of the Verilated Core, as ``rtl_session.hpp`` says: the largest there is.
GEOMETRY = Geometry(instruments=1, pool=1 << 18, orders=1 << 16, tag_bits=12)

_HERE = Path(__file__).parent
_SOURCE = _HERE / "abi.cpp"


def soft_library() -> Path:
    """The software engine; it hashes no reports, for nobody here asks for a digest.

    Raises:
        BuildError: it cannot be built.
    """
    sources = (path for path in build.source_files() if path.stem != "driver")
    return build.compile_library("abi-soft", (_SOURCE, *sources), includes=(_HERE,))


def rtl_library(
    make: Callable[[], wiring.Component] = lambda: Core(GEOMETRY),
    parameters: str = repr(GEOMETRY),
    announce: Callable[[str], None] = announce_build,
) -> Path:
    """The Verilated gateware.

    Args:
        make: another component with the ports of the Core.
        parameters: all that ``make`` depends on beside the gateware's sources.
        announce: told once, before a build.

    Raises:
        ToolError: it cannot be built.
    """
    driver = (build.HERE / "driver.cpp", build.HERE / "handles.cpp")
    return build_library(
        make,
        "core",
        parameters=parameters,
        announce=announce,
        driven_by=_SOURCE,
        beside=driver,
        flags=("-DHAWSE_ABI_RTL", "-DNDEBUG"),
    )

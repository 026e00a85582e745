"""Runs tests of the native margin on a library of other flags, in a process of its own.

``python -m support.checked DIRECTORY FLAG … -- MODULE …``: each test of the modules that is not slow
and takes no argument. A library that traps ends the process.
"""

import sys
from importlib import import_module
from inspect import signature

from hawse.risk.native import accounts, bindings, venue


def main(directory: str, *arguments: str) -> None:
    """Prints the name of each test that has passed."""
    split = arguments.index("--")
    native = bindings.loaded(*arguments[:split])
    for module in (accounts, bindings, venue):
        module.loaded = lambda: native  # type: ignore[attr-defined]
    sys.path.insert(0, directory)
    for name in arguments[split + 1 :]:
        for test, function in vars(import_module(name)).items():
            slow = any(mark.name == "slow" for mark in getattr(function, "pytestmark", []))
            if test.startswith("test_") and not slow and not signature(function).parameters:
                function()
                print(test)


if __name__ == "__main__":
    main(*sys.argv[1:])

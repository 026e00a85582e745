"""What the build of a model is at: a bar on a terminal, and what can be done beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

#: Stages in their order, and about how many seconds each takes of a machine with two cores.
SHARES = {"elaborating": 14, "translating": 2, "Verilating": 5, "compiling": 9, "finishing": 2}


class Stages(ExitStack):
    """A bar of the stages of a build, which appears with the first one; a context manager.

    Args:
        what: is built.
        beside: work that the build needs in the end and that another core may do meanwhile.
    """

    def __init__(self, what: str, beside: Callable[[], object]) -> None:
        super().__init__()
        self._what, self._beside = what, beside
        self._progress: Progress | None = None

    def __call__(self, name: str) -> None:
        """One of :data:`SHARES` begins."""
        if self._progress is None:
            columns = (TextColumn("{task.description:34}"), BarColumn(), TimeElapsedColumn())
            console = Console(stderr=True)
            shown = console.is_terminal
            progress = Progress(
                *columns, console=console, transient=True, redirect_stdout=False, disable=not shown
            )
            self._progress = self.enter_context(progress)
            self._task = progress.add_task(self._what, total=sum(SHARES.values()))
            self.enter_context(ThreadPoolExecutor(1)).submit(self._beside)
        names = list(SHARES)
        done = sum(SHARES[before] for before in names[: names.index(name)])
        self._progress.update(self._task, description=f"{self._what}: {name}", completed=done)

"""The dashboard's files: a page, a style and two scripts of our own; nothing comes from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).with_name("page")
_FILES = (
    ("/", "index.html", "text/html"),
    ("/style.css", "style.css", "text/css"),
    ("/dashboard.js", "dashboard.js", "text/javascript"),
    ("/sign.js", "sign.js", "text/javascript"),
    ("/icon.svg", "icon.svg", "image/svg+xml"),
)


def files() -> Iterator[tuple[str, bytes, str]]:
    """Path, content and media type of each."""
    for path, name, kind in _FILES:
        yield path, (_FOLDER / name).read_bytes(), kind

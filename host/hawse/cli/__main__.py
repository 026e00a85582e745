"""``python -m hawse.cli``."""

from . import main

main()

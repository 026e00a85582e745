"""What can go wrong with the outcomes."""


class PublisherError(Exception):
    """Outcomes that cannot be kept or told."""


class OutputLost(PublisherError):
    """Nobody reads the outcomes any more. What was not told is told at the next start."""

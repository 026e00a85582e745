"""What can go wrong with the chain."""


class ChainError(Exception):
    """Base of everything that this package raises."""


class ContractsNotFoundError(ChainError):
    """The folder with the Vyper sources is not there."""


class CompileError(ChainError):
    """A contract does not compile, or its compiler is not installed."""


class ConnectionLostError(ChainError):
    """The node did not answer, however often it was asked."""


class NotMinedError(ChainError):
    """A transaction is in no block yet. It may still get there: ask before sending another."""


class RevertedError(ChainError):
    """The contract refused a transaction. ``reason`` is its reason string, empty where it gives none."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason or 'reverted without a reason'}")
        self.reason = reason


class AnchorConflictError(ChainError):
    """Another header is anchored under this batch number."""


class DepositMismatchError(ChainError):
    """Deposit events do not add up to the accumulator that the contract holds."""


class DevChainError(ChainError):
    """The embedded chain did not start."""

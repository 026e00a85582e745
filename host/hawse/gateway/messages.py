"""What a WebSocket carries, as typed structs; AsyncAPI is made of them.

What a client sends has its ``op``, and may have an ``id`` that comes back with the answer. An answer has the
``op`` that it answers; what a stream tells has the ``stream``.
"""

from typing import Annotated, Any, Literal

import msgspec

from hawse.commit.exit_file import ExitFile

from .levels import Level
from .shapes import U16, U63, Batch, Done, Status, Trade

#: Comes back with the answer.
Id = U63 | str | msgspec.UnsetType
#: A signed line, as ``docs/messages.md`` has them.
SignedLine = Annotated[
    msgspec.Raw, msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/SignedLine"})
]
StreamName = Literal["book", "trades", "account", "status", "batches", "proofs"]


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="op"):
    """Anything that a client sends as an object."""

    id: Id = msgspec.UNSET


class Login(Asked, tag="login"):
    """Read as the session of ``token`` may; before the streams ``account`` and ``proofs``."""

    token: str


class OfStream(Asked):
    """One stream; of ``book`` and ``trades`` that of ``instrument``."""

    stream: StreamName
    instrument: U16 = 0

    @property
    def name(self) -> str:
        """As answers call it."""
        return f"{self.stream}.{self.instrument}" if self.stream in ("book", "trades") else self.stream


class Subscribe(OfStream, tag="subscribe"):
    """Have a stream; ``from``: the first slot that is not known yet."""

    from_: U63 | None = msgspec.field(default=None, name="from")


class Unsubscribe(OfStream, tag="unsubscribe"):
    """No longer have a stream."""


class Command(Asked, tag="command"):
    """Send a signed line to the venue."""

    command: SignedLine


class OnDisconnect(Asked, tag="on_disconnect"):
    """A signed cancel, cancel_all or cancel_all_after for when this connection ends; none takes it back."""

    command: SignedLine | msgspec.UnsetType = msgspec.UNSET


class Ping(Asked, tag="ping"):
    """Ask for a sign of life."""


#: What a text frame of a client is. A binary one is rows of signed commands.
Ask = Login | Subscribe | Unsubscribe | Command | OnDisconnect | Ping


class Said(msgspec.Struct, kw_only=True, tag_field="op"):
    """Anything that the gateway says beside what streams tell."""

    id: Id = msgspec.UNSET


class Hello(Said, tag="hello"):
    """The first message: the last slot, and the gateway's clock."""

    sequence: int
    time: int


class Heartbeat(Said, tag="heartbeat"):
    """Every five seconds: the last slot, and the gateway's clock."""

    sequence: int
    time: int


class Pong(Said, tag="pong"):
    """Answers ``ping``."""

    sequence: int
    time: int


class LoggedIn(Said, tag="login"):
    """Answers ``login``."""

    account: int
    expires: int


class Subscribed(Said, tag="subscribe"):
    """Answers ``subscribe``, before the stream's first message; ``sequence``: the slot it goes on behind."""

    stream: str
    sequence: int


class Unsubscribed(Said, tag="unsubscribe"):
    """Answers ``unsubscribe``."""

    stream: str


class Outcome(Said, tag="command"):
    """What became of a command; one that came as rows is known by account and nonce."""

    outcome: Done
    account: int | msgspec.UnsetType = msgspec.UNSET
    nonce: int | msgspec.UnsetType = msgspec.UNSET


class Armed(Said, tag="on_disconnect"):
    """Answers ``on_disconnect``: whether a command is left behind."""

    armed: bool


class Wrong(Said, tag="error"):
    """What is wrong, by code and both numbers, and both clocks."""

    error: dict[str, Any]
    time: int
    slot_time: int
    account: int | msgspec.UnsetType = msgspec.UNSET
    nonce: int | msgspec.UnsetType = msgspec.UNSET


class BookWhole(msgspec.Struct, tag_field="stream", tag="book"):
    """A book behind slot ``sequence``, best levels first; what follows changes it."""

    snapshot: Literal[True]
    instrument: int
    sequence: int
    time: int
    bids: list[Level]
    asks: list[Level]
    check: int


class BookChange(msgspec.Struct, tag_field="stream", tag="book"):
    """What a slot changed: price and lots, 0 where a level is gone; ``check`` is of the book behind it."""

    instrument: int
    sequence: int
    previous: int
    time: int
    bids: list[Level]
    asks: list[Level]
    check: int


class TradesTold(msgspec.Struct, tag_field="stream", tag="trades"):
    """The trades of a slot."""

    instrument: int
    sequence: int
    previous: int
    trades: list[Trade]


class AccountTold(msgspec.Struct, tag_field="stream", tag="account"):
    """The lines of a slot that concern the session's account, as ``docs/outcomes.md`` has them."""

    account: int
    sequence: int
    previous: int
    lines: list[dict[str, Any]]


class StatusTold(msgspec.Struct, tag_field="stream", tag="status"):
    """How the venue does, once a second."""

    status: Status


class BatchTold(msgspec.Struct, tag_field="stream", tag="batches"):
    """The batch that was anchored last."""

    batches: Batch


class ProofTold(msgspec.Struct, tag_field="stream", tag="proofs"):
    """What the session's account has in the batch that was anchored last, and its path in the exit tree."""

    proof: ExitFile


#: Each message of a client, with what answers it beside an error.
ASKS: dict[type[Asked], type[Said]] = {
    Login: LoggedIn,
    Subscribe: Subscribed,
    Unsubscribe: Unsubscribed,
    Command: Outcome,
    OnDisconnect: Armed,
    Ping: Pong,
}
#: What comes without being asked for each time.
TOLD: tuple[type[msgspec.Struct], ...] = (
    Hello,
    Heartbeat,
    BookWhole,
    BookChange,
    TradesTold,
    AccountTold,
    StatusTold,
    BatchTold,
    ProofTold,
)


def ready(body: bytes) -> Any:
    """A field that is JSON already, made once for however many read it."""
    return msgspec.Raw(body)

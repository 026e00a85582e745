"""STATE, and scans of all orders: states of the matcher."""

from hawse.wire import InstrumentState

from .queues import Act
from .work import Work


def change_state(w: Work) -> None:
    """STATE; if loading, the windows of all instruments are looked at before anything changes."""
    m, io = w.m, w.io
    with w.states.at("STATE"):
        m.d.comb += w.window.begin.eq(1)
        m.d.sync += [io.row_write.eq(~w.loading), w.price.eq(w.own_price)]
        w.states.next = "TOTAL"
        with m.If(w.loading):
            m.d.sync += w.in_instrument.eq(0)
            w.states.next = "WINDOWS"

    with w.states.at("WINDOWS"):
        m.d.comb += w.window.look.eq(w.in_instrument != w.command.instrument[: len(w.in_instrument)])
        m.d.sync += w.in_instrument.eq(w.in_instrument + 1)
        with m.If(w.in_instrument == w.geometry.instruments - 1):
            w.states.next = "WINDOWS SEEN"

    with w.states.at("WINDOWS SEEN"):
        m.d.sync += w.in_instrument.eq(w.command.instrument)
        w.states.next = "WINDOW"


def take_window(w: Work) -> None:
    """Whether the instrument may have its window."""
    m, io = w.m, w.io
    with w.states.at("WINDOW"):
        m.d.sync += [w.rejects.eq(~w.window.allowed), io.row_write.eq(w.window.allowed)]
        w.states.next = "REFUSE"
        with m.If(w.window.allowed):
            # What is loaded next may cross: a bound left over could meet orders of the other side.
            m.d.sync += io.front_write.eq(~0)
            w.states.next = "REFILL"

    with w.states.at("REFUSE"):
        w.tell()
        m.d.sync += w.rejects.eq(~io.room)
        with m.If(io.room):
            w.finish()


def scan(w: Work) -> None:
    """Each order of the store in turn."""
    m = w.m
    with w.states.at("REFILL"):
        m.d.sync += [w.maker_at.eq(w.pointer - 1), w.scanned.eq(0), w.pointer.eq(w.pointer + 1)]
        w.states.next = "SCAN"

    with w.states.at("SCAN"):
        # The record that has come is that of the handle before the pointer.
        w.fetch()
        concerned = w.maker.live & (w.everywhere | w.same_instrument)
        m.d.sync += [
            w.scanned.eq(1),
            w.maker_at.eq(w.maker_at + 1),
            w.pointer.eq(w.pointer + 1),
            w.hit.eq(w.scanned & concerned & (~w.mass | w.anonymous | w.same_tag)),
        ]
        with m.If(w.hit):
            _look_back(w)
        with m.Elif(w.scanned & w.is_final):
            w.states.next = "SCANNED"

    with w.states.at("SCANNED"):
        w.states.next = "TOTAL"
        with m.If(w.hit):
            _look_back(w)


def cancel_order(w: Work) -> None:
    """An order that is concerned is cancelled, if its instrument lets it."""
    m, io = w.m, w.io
    with w.states.at("VICTIM"):
        m.d.sync += w.price.eq(io.row.origin + w.level)
        allowed = io.row.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
        with m.If(~w.mass | allowed):
            m.d.sync += w.removes.eq(1)
            w.states.next = "REMOVE"
        with m.Else():
            _scan_on(w)

    with w.states.at("REMOVE"):
        with m.If(w.mass):
            w.tell()
        with m.If(io.room):
            m.d.sync += [
                io.act.eq(Act.LEAVE),
                io.act_side.eq(w.maker.side),
                io.write.eq(1),
                io.value.live.eq(0),
                w.count.eq(w.count + 1),
            ]
            _scan_on(w)

    with w.states.at("TOTAL"):
        w.tell()
        with m.If(io.room):
            w.finish()


def _look_back(w: Work) -> None:
    """Return to the order before the one at hand, which is still on its way to be written."""
    io = w.io
    w.m.d.sync += [
        w.maker.eq(io.value),
        w.hit.eq(0),
        w.maker_at.eq(io.write_handle),
        w.pointer.eq(io.write_handle),
        w.level.eq(io.value.level),
        w.in_instrument.eq(io.value.instrument),
    ]
    w.states.next = "VICTIM"


def _scan_on(w: Work) -> None:
    m = w.m
    m.d.sync += [w.pointer.eq(w.maker_at + 1), w.removes.eq(0)]
    w.states.next = "REFILL"
    with m.If(w.is_final):
        m.d.sync += w.in_instrument.eq(w.command.instrument)
        w.states.next = "TOTAL"

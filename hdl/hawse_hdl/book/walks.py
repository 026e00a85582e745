"""Matching, and walks along the queues: states of the matcher."""

from amaranth.hdl import Mux, Signal
from hawse.wire import Reason, SelfTrade, Side

from .queues import Act
from .work import Walk, Work


def _look_at_comparisons(w: Work) -> None:
    """What comparisons tell in MEET comes too late for the state behind it, so that one looks."""
    m = w.m
    with m.If(w.io.done):
        m.d.sync += w.fresh.eq(1)
        w.states.next = "START"
    with m.Elif(w.enough):
        m.d.sync += [w.walk.eq(Walk.MATCH), w.counted.eq(1), w.level.eq(w.begins)]
        w.states.next = "AGAIN"
    with m.Elif(w.meets_own):
        m.d.sync += w.cancel_reason.eq(Mux(w.walk == Walk.COUNT, Reason.FOK, Reason.SELF))
        w.residual()


def enter_level(w: Work) -> None:
    """A level, and the order at its head."""
    m = w.m
    with w.states.at("LEVEL"):
        m.d.sync += [w.heads.eq(1), w.price.eq(w.own_price)]
        w.states.next = "HEAD"

    with w.states.at("HEAD"):
        m.d.sync += [
            w.pointer.eq(w.head),
            w.tail.eq(w.last_in_level),
            w.cancel_reason.eq(Reason.POST_ONLY),
        ]
        with m.If(~w.occupied):
            w.states.next = "NEXT"
            with m.If(w.searched & ~w.behind_known):
                w.states.next = "SEEKING"
        with m.Elif((w.walk == Walk.MATCH) & w.posts):
            w.residual()
        with m.Else():
            w.states.next = "FETCH"
            with m.If((w.walk == Walk.MATCH) & w.fills_or_kills & ~w.counted):
                m.d.sync += [w.walk.eq(Walk.COUNT), w.begins.eq(w.level)]


def fetch_maker(w: Work) -> None:
    """The order at hand."""
    m = w.m
    with w.states.at("FETCH"):
        w.fetch()
        m.d.sync += [w.maker_at.eq(w.pointer), w.last.eq(w.pointer == w.tail), w.follows.eq(1), w.meets.eq(1)]
        w.states.next = "MEET"
        _look_at_comparisons(w)


def meet_maker(w: Work) -> None:
    """What the order at hand and the taker make of each other; or it is counted, or told."""
    m, io = w.m, w.io
    with w.states.at("MEET"):
        own = w.same_tag & ~w.anonymous
        keeps = own & (w.taker.self_trade == SelfTrade.CANCEL_NEWEST)
        # What either leaves of the other. The last carry of a subtraction is there sooner than what a
        # comparison says that looks at all bits for equality, too.
        taker_left, maker_left, lacks_left = Signal(33), Signal(33), Signal(33)
        m.d.comb += [
            taker_left.eq(w.remaining - w.maker.quantity),
            maker_left.eq(w.maker.quantity - w.remaining),
            lacks_left.eq(w.lacks - w.maker.quantity),
        ]
        takes_maker, takes_taker = ~taker_left[-1], ~maker_left[-1]
        pops = own | takes_maker
        # What the order becomes if it is written; its quantity does not ask whose it is.
        m.d.sync += [
            w.pointer.eq(io.handle),
            io.value.live.eq(~pops),
            io.value.quantity.eq(maker_left),
        ]
        with m.Switch(w.walk):
            with m.Case(Walk.MATCH):
                w.tell()
                m.d.comb += [io.own.eq(own), io.kept.eq(keeps), io.cut.eq(~takes_maker)]
                with m.If(io.room):
                    m.d.sync += io.write.eq(~keeps)
                    with m.If(pops & ~keeps):
                        m.d.sync += io.act.eq(Mux(w.last, Act.EMPTY, Act.POP))
                    with m.If(~own):
                        m.d.sync += w.remaining.eq(taker_left)
                    m.d.sync += [
                        io.done.eq(~own & takes_taker),
                        w.meets_own.eq(own & (w.taker.self_trade != SelfTrade.CANCEL_OLDEST)),
                    ]
                    w.states.next = "FETCH"
                    with m.If(w.last):
                        w.states.next = "NEXT"
            with m.Case(Walk.COUNT):
                with m.If(~own):
                    m.d.sync += [w.lacks.eq(lacks_left), w.enough.eq(lacks_left[-1])]
                m.d.sync += w.meets_own.eq(own & (w.taker.self_trade != SelfTrade.CANCEL_OLDEST))
                w.states.next = "FETCH"
                with m.If(w.last):
                    w.states.next = "SEEK NEXT"
            with m.Default():
                w.tell()
                with m.If(io.room):
                    w.states.next = "FETCH"
                    with m.If(w.last):
                        w.states.next = "SEEK NEXT"


def leave_level(w: Work) -> None:
    """The level at hand has been dealt with: on to the next."""
    m, io = w.m, w.io
    with w.states.at("AGAIN"):
        w.states.next = "LEVEL"

    with w.states.at("NEXT"):  # the level at hand is empty
        m.d.sync += [
            w.meets.eq(0),  # whatever comes: that is known late
            w.behind_known.eq(0),
            w.searched.eq(0),
            w.cancel_reason.eq(w.unfilled),
            io.front.best.eq(w.behind),
            io.front.behind.eq(w.behind),
        ]
        w.states.next = "SEEK BEST"
        with m.If(w.behind_known & ~io.done & ~w.meets_own):
            w.write_front(w.walk_side)
            m.d.sync += w.level.eq(w.behind.level)
            w.states.next = "AGAIN"
            with m.If(~w.behind.found | ~w.crosses(w.behind.level)):
                w.residual()
        _look_at_comparisons(w)


def search(w: Work) -> None:
    """Search the best level, or the one after that at hand."""
    m, io = w.m, w.io
    with w.states.at("SEEK BEST"):
        with m.If(w.dumps):
            m.d.sync += w.level.eq(w.first)
        with m.If(w.dumps & ~w.task.row.windowed):
            w.finish()
        with m.Elif(io.settled):
            w.seek()
            w.states.next = "SEEKING"

    with w.states.at("SEEK NEXT"):
        with m.If(io.settled & ~w.enough & ~w.meets_own):
            w.seek(onward=1)
            w.states.next = "SEEKING"
        _look_at_comparisons(w)

    with w.states.at("SEEKING"):
        m.d.sync += [
            w.meets.eq(0),
            io.front.best.eq(io.found),
            io.front.behind.eq(io.found),
            w.cancel_reason.eq(w.unfilled),
        ]
        with m.If(io.seek_ready & ~io.seek):
            m.d.sync += w.level.eq(io.found.level)
            with m.If(w.walk == Walk.MATCH):
                w.write_front(w.walk_side)
            w.states.next = "AGAIN"
            with m.If(w.walk != Walk.DUMP), m.If(~io.found.found | ~w.crosses(io.found.level)):
                w.residual()
            with m.Elif(~io.found.found):
                with m.If(w.walk_side == Side.BUY):
                    m.d.sync += w.walk_side.eq(Side.SELL)
                    w.states.next = "SEEK BEST"
                with m.Else():
                    w.finish()


def finish_taker(w: Work) -> None:
    """What remains of the taker is cancelled or rests."""
    m, io = w.m, w.io
    with w.states.at("RESIDUAL"):
        m.d.sync += [w.pointer.eq(w.own_handle), w.level.eq(w.taker.level)]
        cancels = w.cannot_rest | w.cancel_reason.matches(Reason.SELF, Reason.POST_ONLY)
        with m.If(~cancels):
            w.states.next = "REST"
        with m.Else():
            w.tell()
            with m.If(io.room):
                w.finish()

    with w.states.at("REST"):
        m.d.sync += [
            io.act.eq(Act.ENTER),
            io.act_side.eq(w.taker.side),
            io.write.eq(1),
            io.write_handle.eq(w.own_handle),
            io.value.eq(w.taker),
            io.value.quantity.eq(w.remaining),
            io.front.eq(w.task.front),
        ]
        w.write_front(w.taker.side)
        w.states.next = "RESTED"

    with w.states.at("RESTED"):  # the pipeline is to compare anew with the bounds
        w.finish()


def load(w: Work) -> None:
    """An order that is loaded rests, unless the other side has its level."""
    m, io = w.m, w.io
    with w.states.at("LOAD"):
        w.states.next = "LOAD QUEUE"

    with w.states.at("LOAD QUEUE"):
        m.d.sync += w.heads.eq(1)
        w.states.next = "LOAD HEAD"

    with w.states.at("LOAD HEAD"):
        w.states.next = "LOAD FETCH"
        with m.If(~w.occupied):
            m.d.sync += w.pointer.eq(w.own_handle)
            w.states.next = "REST"

    with w.states.at("LOAD FETCH"):
        w.fetch()
        m.d.sync += w.pointer.eq(w.own_handle)
        w.states.next = "LOAD CHECK"

    with w.states.at("LOAD CHECK"):
        with m.If(w.maker.side == w.taker.side):
            w.states.next = "REST"
        with m.Else():
            w.tell()
            with m.If(io.room):
                w.finish()

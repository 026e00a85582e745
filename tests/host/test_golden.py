"""The matching rules, one by one, on the golden engine, the native one, and the gateware."""

import numpy as np
import pytest
from hawse.engine import GoldenBackend, SoftBackend, split
from hawse.wire import (
    ALL_INSTRUMENTS,
    NULL_HANDLE,
    Geometry,
    InstrumentState,
    Kind,
    Opcode,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)
from hawse.wire.dtypes import COMMAND, flags, make
from hawse_sim.rtl import RtlBackend

G = Geometry(2, 2048, 64, 4)  # for which other tests build the gateware, too
COUNT = 1024  # levels of each instrument's window
BASE = 1000
B, S = Side.BUY, Side.SELL
GTC, IOC, FOK, POST = TimeInForce
NEWEST, OLDEST, BOTH = SelfTrade


def command(opcode, **fields):
    side, tif, mode, origin = (fields.pop(k, 0) for k in ("side", "tif", "mode", "origin"))
    return make(COMMAND, opcode=opcode, flags=fields.pop("flags", flags(side, tif, mode, origin)), **fields)


def state(instrument, new):
    return command(Opcode.STATE, instrument=instrument, quantity=new)


def loading(instrument, base, first=None, count=COUNT):
    first = instrument * COUNT if first is None else first
    fields = {"instrument": instrument, "handle": first, "token": count, "price": base}
    return command(Opcode.STATE, quantity=InstrumentState.LOADING, **fields)


def new(handle, side, price, quantity, tag=0, tif=GTC, mode=NEWEST, instrument=0, **more):
    fields = {"handle": handle, "side": side, "price": price, "quantity": quantity, "tag": tag}
    return command(Opcode.NEW, **fields, tif=tif, mode=mode, instrument=instrument, **more)


def cancel(handle, **more):
    return command(Opcode.CANCEL, handle=handle, **more)


def replace(handle, price, quantity, **more):
    return command(Opcode.REPLACE, handle=handle, price=price, quantity=quantity, **more)


def reduce(handle, quantity, **more):
    return command(Opcode.REDUCE, handle=handle, quantity=quantity, **more)


class Venue:
    """Tells an engine commands; hears (kind, side, reason, handle, maker, price, quantity, maker done)."""

    def __init__(self, backend):
        self.backend = backend

    def __call__(self, *commands):
        end = command(Opcode.HELLO)
        reports = split(self.backend.exchange(np.concatenate([*commands, end]))).records
        return [
            (
                Kind(r["kind"] & 15),
                Side(r["kind"] >> 4 & 1),
                Reason(r["reason"]),
                int(r["handle"]),
                int(r["maker"]),
                int(r["price"]),
                int(r["quantity"]),
                bool(r["kind"] >> 5 & 1),
            )
            for r in reports
        ]

    def beats(self, *commands):
        return split(self.backend.exchange(np.concatenate([*commands, command(Opcode.HELLO)])))

    def book(self, instrument=0):
        resting = self.beats(command(Opcode.DUMP, instrument=instrument)).resting
        return [(int(r["handle"]), int(r["price"]), int(r["quantity"])) for r in resting]


def ack(handle, side, price, quantity):
    return (Kind.ACK, side, Reason.NONE, handle, 0, price, quantity, False)


def in_force(first, count, base, now):
    """The ACK of a STATE."""
    return (Kind.ACK, B, Reason.NONE, first, count, base, now, False)


def trade(handle, side, maker, price, quantity, done):
    return (Kind.TRADE, side, Reason.NONE, handle, maker, price, quantity, done)


def gone(reason, handle, side, price, quantity):
    return (Kind.CANCELLED, side, reason, handle, 0, price, quantity, False)


def replaced(handle, side, price, quantity):
    return (Kind.REPLACED, side, Reason.NONE, handle, 0, price, quantity, False)


def rejected(reason, handle, price=0, side=B):
    return (Kind.REJECTED, side, reason, handle, 0, price, 0, False)


@pytest.fixture(params=[GoldenBackend, SoftBackend, RtlBackend], ids=["golden", "soft", "rtl"])
def venue(request):
    it = Venue(request.param(G))
    for instrument in range(G.instruments):
        it(loading(instrument, BASE), state(instrument, InstrumentState.OPEN))
    yield it
    it.backend.close()


def test_price_time_priority_at_the_makers_price(venue):
    venue(new(1, S, 1502, 5), new(2, S, 1501, 5), new(3, S, 1501, 5))
    assert venue(new(4, B, 1502, 12)) == [
        ack(4, B, 1502, 12),
        trade(4, B, 2, 1501, 5, True),
        trade(4, B, 3, 1501, 5, True),
        trade(4, B, 1, 1502, 2, False),
    ]
    assert venue.book() == [(1, 1502, 3)]


def test_residual_rests_behind_earlier_orders(venue):
    venue(new(1, B, 1500, 1), new(2, S, 1600, 3))
    venue(new(3, B, 1600, 5), new(4, B, 1600, 1), new(5, B, 1500, 2))
    assert venue.book() == [(3, 1600, 2), (4, 1600, 1), (1, 1500, 1), (5, 1500, 2)]


def test_sell_walks_bids_downwards(venue):
    venue(new(1, B, 1499, 1), new(2, B, 1500, 1), new(3, B, 1498, 1))
    assert venue(new(4, S, 1499, 9))[1:] == [trade(4, S, 2, 1500, 1, True), trade(4, S, 1, 1499, 1, True)]
    assert venue.book() == [(3, 1498, 1), (4, 1499, 7)]


def test_immediate_or_cancel(venue):
    venue(new(1, S, 1500, 2))
    assert venue(new(2, B, 1500, 5, tif=IOC)) == [
        ack(2, B, 1500, 5),
        trade(2, B, 1, 1500, 2, True),
        gone(Reason.IOC, 2, B, 1500, 3),
    ]
    assert venue(new(3, B, 1500, 5, tif=IOC))[1:] == [gone(Reason.IOC, 3, B, 1500, 5)]
    assert venue.book() == []


def test_immediate_or_cancel_that_fills_is_not_cancelled(venue):
    venue(new(1, S, 1500, 2))
    assert venue(new(2, B, 1500, 2, tif=IOC))[1:] == [trade(2, B, 1, 1500, 2, True)]


@pytest.mark.parametrize(("quantity", "fills"), [(5, True), (6, False)])
def test_fill_or_kill_over_levels(venue, quantity, fills):
    venue(new(1, S, 1500, 2), new(2, S, 1501, 3), new(3, S, 1502, 3))
    reports = venue(new(4, B, 1501, quantity, tif=FOK))
    if fills:
        assert reports[1:] == [trade(4, B, 1, 1500, 2, True), trade(4, B, 2, 1501, 3, True)]
    else:
        assert reports[1:] == [gone(Reason.FOK, 4, B, 1501, quantity)]
        assert len(venue.book()) == 3


def test_fill_or_kill_does_not_overflow(venue):
    venue(new(1, S, 1500, 0xFFFFFFFF), new(2, S, 1501, 0xFFFFFFFF))
    assert venue(new(3, B, 1501, 0xFFFFFFFF, tif=FOK))[1:] == [trade(3, B, 1, 1500, 0xFFFFFFFF, True)]


@pytest.mark.parametrize("mode", [NEWEST, BOTH])
def test_fill_or_kill_counts_up_to_the_first_own_order(venue, mode):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 2, tag=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 4, tag=7, tif=FOK, mode=mode))[1:] == [gone(Reason.FOK, 4, B, 1500, 4)]
    assert len(venue.book()) == 3
    assert venue(new(4, B, 1500, 2, tag=7, tif=FOK, mode=mode))[1:] == [trade(4, B, 1, 1500, 2, True)]


def test_fill_or_kill_that_cancels_oldest_skips_own_orders(venue):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 9, tag=7), new(3, S, 1500, 2), new(5, S, 1500, 1, tag=7))
    taker = {"tag": 7, "tif": FOK, "mode": OLDEST}
    assert venue(new(4, B, 1500, 5, **taker))[1:] == [gone(Reason.FOK, 4, B, 1500, 5)]
    assert len(venue.book()) == 4  # and nobody was cancelled
    assert venue(new(4, B, 1500, 4, **taker))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 2, S, 1500, 9),
        trade(4, B, 3, 1500, 2, True),
    ]
    assert venue.book() == [(5, 1500, 1)]  # it was filled before it met this one


def test_post_only(venue):
    venue(new(1, S, 1500, 2, tag=7))
    crossing = venue(new(2, B, 1500, 1, tag=7, tif=POST))  # its own tag's order counts too
    assert crossing == [ack(2, B, 1500, 1), gone(Reason.POST_ONLY, 2, B, 1500, 1)]
    assert venue(new(2, B, 1499, 1, tif=POST)) == [ack(2, B, 1499, 1)]
    assert venue(new(3, S, 1499, 1, tif=POST))[1:] == [gone(Reason.POST_ONLY, 3, S, 1499, 1)]
    assert venue.book() == [(2, 1499, 1), (1, 1500, 2)]


def test_cancel_newest_stops_at_the_own_order(venue):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 2, tag=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 5, tag=7, mode=NEWEST))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 4, B, 1500, 3),
    ]
    assert venue.book() == [(2, 1500, 2), (3, 1500, 2)]


def test_cancel_oldest_goes_on(venue):
    venue(new(1, S, 1500, 2, tag=7), new(2, S, 1500, 2), new(3, S, 1501, 4, tag=7))
    assert venue(new(4, B, 1501, 5, tag=7, mode=OLDEST))[1:] == [
        gone(Reason.SELF, 1, S, 1500, 2),
        trade(4, B, 2, 1500, 2, True),
        gone(Reason.SELF, 3, S, 1501, 4),
    ]
    assert venue.book() == [(4, 1501, 3)]


def test_cancel_both_ends_maker_then_residual(venue):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 3, tag=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 5, tag=7, tif=IOC, mode=BOTH))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 2, S, 1500, 3),
        gone(Reason.SELF, 4, B, 1500, 3),
    ]
    assert venue.book() == [(3, 1500, 2)]


def test_the_takers_mode_rules_and_anonymous_is_nobody(venue):
    venue(new(1, S, 1500, 2, tag=7, mode=BOTH))
    assert venue(new(2, B, 1500, 1, tag=7, mode=NEWEST))[1:] == [gone(Reason.SELF, 2, B, 1500, 1)]
    venue(new(3, S, 1499, 2, tag=0))
    assert venue(new(4, B, 1500, 1, tag=0))[1:] == [trade(4, B, 3, 1499, 1, False)]


def test_replace_loses_priority_even_in_place(venue):
    venue(new(1, B, 1500, 2), new(2, B, 1500, 2))
    assert venue(replace(1, 1500, 2)) == [replaced(1, B, 1500, 2)]
    assert venue.book() == [(2, 1500, 2), (1, 1500, 2)]


def test_replace_that_crosses_takes(venue):
    venue(new(1, B, 1500, 2), new(2, S, 1600, 3))
    assert venue(replace(1, 1600, 5)) == [replaced(1, B, 1600, 5), trade(1, B, 2, 1600, 3, True)]
    assert venue.book() == [(1, 1600, 2)]


def test_replace_keeps_tag_mode_and_side(venue):
    venue(new(1, S, 1600, 1, tag=7), new(2, B, 1500, 2, tag=7, mode=OLDEST))
    # the replacing command's own flags are not read
    assert venue(replace(2, 1600, 1, tag=7, side=S, mode=BOTH, origin=1)) == [
        replaced(2, B, 1600, 1),
        gone(Reason.SELF, 1, S, 1600, 1),
    ]
    assert venue.book() == [(2, 1600, 1)]


def test_replaced_post_only_order_may_cross(venue):
    venue(new(1, B, 1500, 2, tif=POST), new(2, S, 1600, 1))
    assert venue(replace(1, 1600, 1))[1:] == [trade(1, B, 2, 1600, 1, True)]


def test_reduce_keeps_priority(venue):
    venue(new(1, B, 1500, 5), new(2, B, 1500, 2))
    assert venue(reduce(1, 3)) == [replaced(1, B, 1500, 3)]
    assert venue.book() == [(1, 1500, 3), (2, 1500, 2)]
    for quantity in (0, 3, 4):
        assert venue(reduce(1, quantity)) == [rejected(Reason.QUANTITY, 1)]


def test_cancel(venue):
    venue(new(1, S, 1500, 5), new(2, B, 1500, 3))
    assert venue(cancel(1)) == [gone(Reason.COMMAND, 1, S, 1500, 2)]
    assert venue(cancel(1, price=5, side=S)) == [rejected(Reason.NOT_RESTING, 1, 5, S)]
    assert venue(new(1, B, 1500, 1)) == [ack(1, B, 1500, 1)]  # the handle is free again


def test_mass_cancel_in_handle_order(venue):
    venue(new(5, S, 1500, 1, tag=7), new(3, B, 1400, 2, tag=7), new(4, B, 1400, 3, tag=8))
    venue(new(1, B, 1300, 4, tag=7, instrument=1))
    assert venue(command(Opcode.MASS_CANCEL, tag=7, instrument=0, side=S, price=9)) == [
        gone(Reason.MASS, 3, B, 1400, 2),
        gone(Reason.MASS, 5, S, 1500, 1),
        ack(0, B, 0, 2),
    ]
    assert venue(command(Opcode.MASS_CANCEL, tag=9, instrument=ALL_INSTRUMENTS)) == [ack(0, B, 0, 0)]
    assert venue(command(Opcode.MASS_CANCEL, instrument=ALL_INSTRUMENTS)) == [
        gone(Reason.MASS, 1, B, 1300, 4),
        gone(Reason.MASS, 4, B, 1400, 3),
        ack(0, B, 0, 2),
    ]


def test_mass_cancel_of_all_skips_instruments_that_do_not_allow_it(venue):
    venue(new(1, B, 1400, 1), new(2, B, 1400, 1, instrument=1), state(0, InstrumentState.CLOSED))
    everything = command(Opcode.MASS_CANCEL, instrument=ALL_INSTRUMENTS)
    assert venue(everything) == [gone(Reason.MASS, 2, B, 1400, 1), ack(0, B, 0, 1)]
    assert venue(command(Opcode.MASS_CANCEL)) == [rejected(Reason.STATE, 0)]
    reports = venue.beats(everything).records
    assert reports["instrument"].tolist() == [ALL_INSTRUMENTS]


@pytest.mark.parametrize(
    ("now", "allowed"),
    [
        (InstrumentState.OPEN, "NEW REPLACE CANCEL REDUCE MASS_CANCEL"),
        (InstrumentState.CANCEL_ONLY, "CANCEL REDUCE MASS_CANCEL"),
        (InstrumentState.CLOSED, ""),
    ],
)
def test_what_a_state_allows(venue, now, allowed):
    for opcode in ("NEW", "REPLACE", "CANCEL", "REDUCE", "MASS_CANCEL", "LOAD"):
        venue(new(1, B, 1400, 5), state(0, now))
        handle = 2 if opcode in ("NEW", "LOAD") else 1
        reports = venue(command(Opcode[opcode], handle=handle, price=1400, quantity=1))
        assert (rejected(Reason.STATE, handle, 1400) not in reports) == (opcode in allowed.split()), opcode
        venue(state(0, InstrumentState.OPEN), command(Opcode.MASS_CANCEL))


def test_loading_empties_moves_the_band_and_takes_orders_silently(venue):
    venue(new(1, B, 1400, 5), new(2, B, 1400, 5, instrument=1))
    assert venue(loading(0, -50)) == [in_force(0, COUNT, -50, 3)]
    assert venue.book() == []
    assert venue.book(1) == [(2, 1400, 5)]
    for opcode in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE, Opcode.MASS_CANCEL):
        assert venue(command(opcode, quantity=1)) == [rejected(Reason.STATE, 0)]
    load = {"quantity": 2, "tag": 7}
    assert venue(
        command(Opcode.LOAD, handle=9, price=973, side=B, mode=OLDEST, tif=FOK, **load),
        command(Opcode.LOAD, handle=8, price=973, side=B, **load),
        command(Opcode.LOAD, handle=7, price=-50, side=S, **load),  # crosses: the loader answers for it
        command(Opcode.LOAD, handle=6, price=974, side=S, **load),
        command(Opcode.LOAD, handle=5, price=-51, side=S, **load),
        command(Opcode.LOAD, handle=7, price=0, side=S, **load),
        command(Opcode.LOAD, handle=4, price=973, side=S, **load),  # a price never holds both sides
    ) == [
        rejected(Reason.PRICE, 6, 974, S),
        rejected(Reason.PRICE, 5, -51, S),
        rejected(Reason.DUPLICATE, 7, 0, S),
        rejected(Reason.PRICE, 4, 973, S),
    ]
    resting = venue.beats(command(Opcode.DUMP)).resting
    assert resting["handle"].tolist() == [9, 8, 7]
    assert resting["tag"].tolist() == [7, 7, 7]
    assert resting["flags"].tolist() == [flags(B, 0, OLDEST), flags(B), flags(S)]
    assert venue(state(0, InstrumentState.OPEN)) == [in_force(0, COUNT, -50, 1)]


def test_checks_in_order(venue):
    venue(new(1, B, 1400, 5), state(1, InstrumentState.CLOSED))
    # each line breaks everything that the next ones break too; reasons must come in the order of the rules
    wrong = {"flags": 5 << 5 | 3 << 3, "tag": 16, "instrument": 2, "handle": 64, "price": 0, "quantity": 0}
    repairs = [
        ({"flags": 5 << 5}, Reason.CLASS),
        ({"flags": 4 << 5}, Reason.TAG),
        ({"tag": 15}, Reason.INSTRUMENT),
        ({"instrument": 1}, Reason.STATE),
        ({"instrument": 0}, Reason.HANDLE),
        ({"handle": 1}, Reason.DUPLICATE),
        ({"handle": 2}, Reason.QUANTITY),
        ({"quantity": 1}, Reason.PRICE),
    ]
    assert venue(command(Opcode.NEW, **wrong)) == [rejected(Reason.OPCODE, 64)]
    for repair, reason in repairs:
        wrong |= repair
        assert venue(command(Opcode.NEW, **wrong)) == [rejected(reason, wrong["handle"])]
    assert venue(command(Opcode.NEW, **wrong | {"price": 1400})) == [ack(2, B, 1400, 1)]


@pytest.mark.parametrize("opcode", [Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE])
def test_handle_of_an_order_that_is_not_there(venue, opcode):
    venue(new(1, B, 1400, 5))
    for handle, instrument, reason in (
        (64, 0, Reason.HANDLE),
        (NULL_HANDLE - 1, 0, Reason.HANDLE),
        (NULL_HANDLE, 0, Reason.NOT_RESTING),
        (2, 0, Reason.NOT_RESTING),
        (1, 1, Reason.NOT_RESTING),  # rests, but in another book
    ):
        assert venue(command(opcode, handle=handle, instrument=instrument)) == [rejected(reason, handle)]


def test_replace_checks_quantity_then_price(venue):
    venue(new(1, B, 1400, 5))
    assert venue(replace(1, 0, 0)) == [rejected(Reason.QUANTITY, 1)]
    assert venue(replace(1, BASE - 1, 5)) == [rejected(Reason.PRICE, 1, BASE - 1)]
    assert venue(replace(1, BASE + 1024, 5)) == [rejected(Reason.PRICE, 1, BASE + 1024)]
    assert venue.book() == [(1, 1400, 5)]


@pytest.mark.parametrize(
    "fields",
    [
        {"opcode": 0},
        {"opcode": Opcode.RECENTRE},
        {"opcode": 255},
        {"opcode": Opcode.LIMIT},
        {"opcode": Opcode.CANCEL, "flags": 3 << 3},
        {"opcode": Opcode.CANCEL, "flags": 7 << 5 | 3 << 3, "tag": 16},
        {"opcode": Opcode.STATE, "quantity": 4},
        {"opcode": Opcode.STATE, "quantity": 1 << 31, "instrument": 3},
    ],
    ids=str,
)
def test_undefined_encodings(venue, fields):
    venue(new(0, B, 1400, 5))
    assert venue(make(COMMAND, **fields)) == [rejected(Reason.OPCODE, 0)]
    assert venue.book() == [(0, 1400, 5)]


@pytest.mark.parametrize("opcode", [o for o in range(1, 11) if o not in (Opcode.FENCE, Opcode.CLOSE)])
def test_class_and_tag_are_judged_of_every_command_whether_it_uses_them_or_not(venue, opcode):
    where = {"opcode": opcode, "handle": 9, "instrument": 3}
    for sequence_class in range(8):
        for tag in (15, 16):
            reason = Reason.CLASS if sequence_class > 4 else Reason.TAG if tag > 15 else Reason.INSTRUMENT
            reports = venue(command(**where, origin=sequence_class, tag=tag))
            assert reports == [rejected(reason, 9)], (sequence_class, tag)


def test_only_the_owner_replaces(venue):
    venue(new(1, B, 1500, 5, tag=7), new(2, B, 1500, 5))
    for handle, tag in ((1, 0), (1, 8), (2, 7)):
        wrong = replace(handle, 0, 0, tag=tag)  # wrong in every later way, too
        assert venue(wrong) == [rejected(Reason.OWNER, handle)]
    assert venue(replace(1, 1501, 5, tag=7), replace(2, 1502, 5)) == [
        replaced(1, B, 1501, 5),
        replaced(2, B, 1502, 5),
    ]
    # whoever sends CANCEL and REDUCE answers for them
    assert venue(reduce(1, 2, tag=8), cancel(1, tag=9)) == [
        replaced(1, B, 1501, 2),
        gone(Reason.COMMAND, 1, B, 1501, 2),
    ]


LAST_BASE = (1 << 31) - COUNT


@pytest.mark.parametrize(
    ("first", "count", "base"),
    [
        (0, 0, 0),
        (0, 1, 0),
        (0, 32, 0),
        (0, 63, 0),
        (0, 65, 0),
        (0, 192, 0),
        (0, (1 << 32) - 64, 0),
        (0, 4096, 0),
        (0, 1 << 31, -(1 << 31)),
        (1, COUNT, 0),
        (64, COUNT, 0),
        (32, 64, 0),
        (2048, 64, 0),
        (2048, COUNT, 0),
        ((1 << 32) - 64, 64, 0),
        ((1 << 32) - COUNT, COUNT, 0),
        (1 << 31, COUNT, 0),
        (0, COUNT, LAST_BASE + 1),
        (0, 64, (1 << 31) - 63),
        (0, 64, (1 << 31) - 1),
        (COUNT, COUNT, 0),  # the other instrument's, and parts of it
        (COUNT, 64, 0),
        (COUNT + 512, 512, 0),
        (2048 - 64, 64, 0),
        (0, 2048, 0),
    ],
)
def test_a_window_that_cannot_be_changes_nothing(venue, first, count, base):
    venue(new(1, B, 1400, 5))
    assert venue(loading(0, base, first, count)) == [rejected(Reason.WINDOW, first, base)]
    assert venue.book() == [(1, 1400, 5)]
    assert venue(state(0, InstrumentState.OPEN)) == [in_force(0, COUNT, BASE, 1)]
    assert venue(new(2, S, 2023, 1), new(3, S, 2024, 1)) == [
        ack(2, S, 2023, 1),
        rejected(Reason.PRICE, 3, 2024, S),
    ]


def test_a_window_is_judged_last_of_a_states_checks(venue):
    window = {"quantity": InstrumentState.LOADING, "token": 3, "handle": 5}
    for wrong, reason in (
        ({"flags": 3 << 3}, Reason.OPCODE),
        ({"quantity": 4}, Reason.OPCODE),
        ({"origin": 5}, Reason.CLASS),
        ({"tag": 16}, Reason.TAG),
        ({"instrument": 2}, Reason.INSTRUMENT),
        ({"instrument": 1}, Reason.WINDOW),
    ):
        assert venue(command(Opcode.STATE, **window | wrong)) == [rejected(reason, 5)]


def test_other_states_keep_the_window_and_read_none(venue):
    for now in (InstrumentState.CLOSED, InstrumentState.CANCEL_ONLY, InstrumentState.OPEN):
        change = command(Opcode.STATE, instrument=1, quantity=now, handle=7, token=3, price=(1 << 31) - 1)
        assert venue(change) == [in_force(COUNT, COUNT, BASE, now)]


def test_without_a_window_everything_priced_is_outside(venue):
    venue.backend.reset(1)
    assert venue(new(1, B, 0, 1)) == [rejected(Reason.STATE, 1)]
    assert venue(state(0, InstrumentState.OPEN)) == [in_force(0, 0, 0, 1)]
    for price in (-(1 << 31), -1, 0, 1, (1 << 31) - 1):
        assert venue(new(1, B, price, 1)) == [rejected(Reason.PRICE, 1, price)]
    assert venue(command(Opcode.MASS_CANCEL)) == [ack(0, B, 0, 0)]
    assert venue.book() == []


def test_a_window_shrinks_moves_and_grows(venue):
    for first, count in ((512, 512), (960, 64), (0, 64), (0, 1024), (0, COUNT)):
        venue(new(1, B, BASE, 5), new(2, S, BASE + 9, 5))
        assert venue(loading(0, BASE, first, count)) == [in_force(first, count, BASE, 3)]
        assert venue.book() == []
        venue(state(0, InstrumentState.OPEN))
        assert venue(new(3, B, BASE, 1), new(4, B, BASE + count - 1, 2), new(5, S, BASE + count, 1)) == [
            ack(3, B, BASE, 1),
            ack(4, B, BASE + count - 1, 2),
            rejected(Reason.PRICE, 5, BASE + count, S),
        ]
        assert venue(new(5, S, BASE, 3)) == [
            ack(5, S, BASE, 3),
            trade(5, S, 4, BASE + count - 1, 2, True),
            trade(5, S, 3, BASE, 1, True),
        ]


def test_what_one_window_gave_up_another_takes(venue):
    venue(loading(0, BASE, 64, 64), state(0, InstrumentState.OPEN), new(1, B, BASE, 5))
    assert venue(loading(1, BASE, 0, 128)) == [rejected(Reason.WINDOW, 0, BASE)]
    assert venue(loading(1, BASE, 0, 64)) == [in_force(0, 64, BASE, 3)]
    assert venue(loading(1, BASE, 128, 128)) == [in_force(128, 128, BASE, 3)]
    assert venue(loading(0, BASE, 0, 128)) == [in_force(0, 128, BASE, 3)]  # its own old window is no obstacle


def test_neighbours_in_the_pool_never_see_each_other(venue):
    """Searches for the next level end where the window ends, in both directions."""
    venue(loading(0, BASE, 64, 64), state(0, InstrumentState.OPEN))
    venue(loading(1, BASE, 0, 64), state(1, InstrumentState.OPEN))
    low, high = BASE, BASE + 63
    venue(
        *(new(h, B, p, 1, instrument=i) for h, i, p in ((1, 0, low), (2, 0, high), (3, 1, low), (4, 1, high)))
    )
    assert venue(new(5, S, low, 3, tif=IOC))[1:] == [
        trade(5, S, 2, high, 1, True),
        trade(5, S, 1, low, 1, True),
        gone(Reason.IOC, 5, S, low, 1),
    ]
    venue(*(new(h, S, p, 1, instrument=1, mode=NEWEST) for h, p in ((6, high),)))
    assert venue.book(1) == [(3, low, 1)]  # the one at the top traded
    venue(new(1, S, low, 1), new(2, S, high, 1), new(7, S, high, 1, instrument=1))
    assert venue(new(5, B, high, 3, tif=FOK))[1:] == [gone(Reason.FOK, 5, B, high, 3)]
    assert venue(new(5, B, high, 3, tif=IOC))[1:] == [
        trade(5, B, 1, low, 1, True),
        trade(5, B, 2, high, 1, True),
        gone(Reason.IOC, 5, B, high, 1),
    ]
    assert venue.book(1) == [(3, low, 1), (7, high, 1)]


def test_fence_close_and_hello_are_never_rejected(venue):
    for opcode in (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO):
        beats = venue.beats(make(COMMAND, opcode=opcode, flags=0xFF, instrument=99, tag=1 << 31, token=6))
        assert not len(beats.records)


@pytest.mark.parametrize("base", [-(1 << 31), -COUNT, -1, LAST_BASE])
def test_bands_at_the_ends_of_what_a_price_can_be(venue, base):
    venue(loading(0, base), state(0, InstrumentState.OPEN))
    assert venue(new(1, B, base, 1)) == [ack(1, B, base, 1)]
    assert venue(new(2, B, base + COUNT - 1, 1)) == [ack(2, B, base + COUNT - 1, 1)]
    outside = {-(1 << 31), (1 << 31) - 1, base ^ 1 << 20, base - 1, base + COUNT}
    for price in outside - set(range(base, base + COUNT)):
        if -(1 << 31) <= price < 1 << 31:
            assert venue(new(3, B, price, 1)) == [rejected(Reason.PRICE, 3, price)]


def test_counters_epoch_and_last_seq(venue):
    venue.backend.reset(77)
    beats = venue.beats(
        command(Opcode.HELLO),
        command(99, seq=5),
        command(Opcode.FENCE, token=1, seq=1 << 40),
        command(Opcode.HELLO, seq=3),
        command(Opcode.FENCE, token=2),
        command(Opcode.CLOSE, token=3),
        command(Opcode.FENCE, token=4),
    )
    assert beats.hellos["last_seq"].tolist() == [0, 1 << 40, 0]
    assert beats.hellos["epoch"].tolist() == [77] * 3
    hello = beats.hellos[0]
    told = ("version", "instruments", "pool", "orders", "tag_bits", "least_window", "limits")
    assert [int(hello[n]) for n in told] == [2, G.instruments, G.pool, G.orders, G.tag_bits, 6, 0]
    assert beats.builds["features"].tolist() == [0] * 3
    assert [(f.token, f.commands, f.records, f.epoch) for f in beats.fences] == [
        (1, 2, 1, 77),
        (2, 4, 1, 77),
        (3, 5, 1, 77),
        (4, 0, 0, 77),
    ]
    assert [(b.token, b.leaves, b.records, b.epoch) for b in beats.batches] == [(3, 1, 1, 77)]


def test_seq_is_cut_to_32_bits_in_records(venue):
    reports = venue.beats(command(99, seq=0x1_2345_6789)).records
    assert reports["seq"].tolist() == [0x2345_6789]


def test_dump_is_not_logged_unless_it_is_rejected(venue):
    assert venue.backend.exchange(command(Opcode.FENCE)) is not None
    before = split(venue.backend.exchange(command(Opcode.FENCE))).fences[0]
    venue.book()
    after = split(venue.backend.exchange(command(Opcode.FENCE))).fences[0]
    assert (after.records, after.digest) == (before.records, before.digest)
    assert venue(command(Opcode.DUMP, instrument=3)) == [rejected(Reason.INSTRUMENT, 0)]

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

G = Geometry(2, 1024, 64, 4)  # for which other tests build the gateware, too
BASE = 1000
B, S = Side.BUY, Side.SELL
GTC, IOC, FOK, POST = TimeInForce
NEWEST, OLDEST, BOTH = SelfTrade


def command(opcode, **fields):
    side, tif, mode = (fields.pop(k, 0) for k in ("side", "tif", "mode"))
    return make(COMMAND, opcode=opcode, flags=fields.pop("flags", flags(side, tif, mode)), **fields)


def state(instrument, new, base=0):
    return command(Opcode.STATE, instrument=instrument, quantity=new, price=base)


def new(handle, side, price, quantity, account=0, tif=GTC, mode=NEWEST, instrument=0, **more):
    fields = {"handle": handle, "side": side, "price": price, "quantity": quantity, "account": account}
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
        it(state(instrument, InstrumentState.LOADING, BASE), state(instrument, InstrumentState.OPEN))
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
    venue(new(1, S, 1500, 2), new(2, S, 1500, 2, account=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 4, account=7, tif=FOK, mode=mode))[1:] == [gone(Reason.FOK, 4, B, 1500, 4)]
    assert len(venue.book()) == 3
    assert venue(new(4, B, 1500, 2, account=7, tif=FOK, mode=mode))[1:] == [trade(4, B, 1, 1500, 2, True)]


def test_fill_or_kill_that_cancels_oldest_skips_own_orders(venue):
    venue(
        new(1, S, 1500, 2), new(2, S, 1500, 9, account=7), new(3, S, 1500, 2), new(5, S, 1500, 1, account=7)
    )
    taker = {"account": 7, "tif": FOK, "mode": OLDEST}
    assert venue(new(4, B, 1500, 5, **taker))[1:] == [gone(Reason.FOK, 4, B, 1500, 5)]
    assert len(venue.book()) == 4  # and nobody was cancelled
    assert venue(new(4, B, 1500, 4, **taker))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 2, S, 1500, 9),
        trade(4, B, 3, 1500, 2, True),
    ]
    assert venue.book() == [(5, 1500, 1)]  # it was filled before it met this one


def test_post_only(venue):
    venue(new(1, S, 1500, 2, account=7))
    crossing = venue(new(2, B, 1500, 1, account=7, tif=POST))  # its own account's order counts too
    assert crossing == [ack(2, B, 1500, 1), gone(Reason.POST_ONLY, 2, B, 1500, 1)]
    assert venue(new(2, B, 1499, 1, tif=POST)) == [ack(2, B, 1499, 1)]
    assert venue(new(3, S, 1499, 1, tif=POST))[1:] == [gone(Reason.POST_ONLY, 3, S, 1499, 1)]
    assert venue.book() == [(2, 1499, 1), (1, 1500, 2)]


def test_cancel_newest_stops_at_the_own_order(venue):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 2, account=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 5, account=7, mode=NEWEST))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 4, B, 1500, 3),
    ]
    assert venue.book() == [(2, 1500, 2), (3, 1500, 2)]


def test_cancel_oldest_goes_on(venue):
    venue(new(1, S, 1500, 2, account=7), new(2, S, 1500, 2), new(3, S, 1501, 4, account=7))
    assert venue(new(4, B, 1501, 5, account=7, mode=OLDEST))[1:] == [
        gone(Reason.SELF, 1, S, 1500, 2),
        trade(4, B, 2, 1500, 2, True),
        gone(Reason.SELF, 3, S, 1501, 4),
    ]
    assert venue.book() == [(4, 1501, 3)]


def test_cancel_both_ends_maker_then_residual(venue):
    venue(new(1, S, 1500, 2), new(2, S, 1500, 3, account=7), new(3, S, 1500, 2))
    assert venue(new(4, B, 1500, 5, account=7, tif=IOC, mode=BOTH))[1:] == [
        trade(4, B, 1, 1500, 2, True),
        gone(Reason.SELF, 2, S, 1500, 3),
        gone(Reason.SELF, 4, B, 1500, 3),
    ]
    assert venue.book() == [(3, 1500, 2)]


def test_the_takers_mode_rules_and_anonymous_is_nobody(venue):
    venue(new(1, S, 1500, 2, account=7, mode=BOTH))
    assert venue(new(2, B, 1500, 1, account=7, mode=NEWEST))[1:] == [gone(Reason.SELF, 2, B, 1500, 1)]
    venue(new(3, S, 1499, 2, account=0))
    assert venue(new(4, B, 1500, 1, account=0))[1:] == [trade(4, B, 3, 1499, 1, False)]


def test_replace_loses_priority_even_in_place(venue):
    venue(new(1, B, 1500, 2), new(2, B, 1500, 2))
    assert venue(replace(1, 1500, 2)) == [replaced(1, B, 1500, 2)]
    assert venue.book() == [(2, 1500, 2), (1, 1500, 2)]


def test_replace_that_crosses_takes(venue):
    venue(new(1, B, 1500, 2), new(2, S, 1600, 3))
    assert venue(replace(1, 1600, 5)) == [replaced(1, B, 1600, 5), trade(1, B, 2, 1600, 3, True)]
    assert venue.book() == [(1, 1600, 2)]


def test_replace_keeps_account_mode_and_side(venue):
    venue(new(1, S, 1600, 1, account=7), new(2, B, 1500, 2, account=7, mode=OLDEST))
    # the replacing command's own account and flags are not read
    assert venue(replace(2, 1600, 1, account=9, side=S, mode=BOTH)) == [
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
    assert venue(cancel(1)) == [gone(Reason.USER, 1, S, 1500, 2)]
    assert venue(cancel(1, price=5, side=S)) == [rejected(Reason.NOT_RESTING, 1, 5, S)]
    assert venue(new(1, B, 1500, 1)) == [ack(1, B, 1500, 1)]  # the handle is free again


def test_mass_cancel_in_handle_order(venue):
    venue(new(5, S, 1500, 1, account=7), new(3, B, 1400, 2, account=7), new(4, B, 1400, 3, account=8))
    venue(new(1, B, 1300, 4, account=7, instrument=1))
    assert venue(command(Opcode.MASS_CANCEL, account=7, instrument=0, side=S, price=9)) == [
        gone(Reason.MASS, 3, B, 1400, 2),
        gone(Reason.MASS, 5, S, 1500, 1),
        ack(0, B, 0, 2),
    ]
    assert venue(command(Opcode.MASS_CANCEL, account=9, instrument=ALL_INSTRUMENTS)) == [ack(0, B, 0, 0)]
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
    assert venue(state(0, InstrumentState.LOADING, -50)) == [ack(0, B, -50, 3)]
    assert venue.book() == []
    assert venue.book(1) == [(2, 1400, 5)]
    for opcode in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE, Opcode.MASS_CANCEL):
        assert venue(command(opcode, quantity=1)) == [rejected(Reason.STATE, 0)]
    load = {"quantity": 2, "account": 7}
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
    assert resting["account"].tolist() == [7, 7, 7]
    assert resting["flags"].tolist() == [flags(B, 0, OLDEST), flags(B), flags(S)]
    assert venue(state(0, InstrumentState.OPEN, 5)) == [ack(0, B, -50, 1)]


def test_checks_in_order(venue):
    venue(new(1, B, 1400, 5), state(1, InstrumentState.CLOSED))
    # each line breaks everything that the next ones break too; reasons must come in the order of the rules
    wrong = {"flags": 0x20, "instrument": 2, "handle": 64, "price": 0, "quantity": 0}
    repairs = [
        ({"flags": 0}, Reason.INSTRUMENT),
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
        {"opcode": Opcode.CANCEL, "flags": 3 << 3},
        {"opcode": Opcode.DUMP, "flags": 0x80},
        {"opcode": Opcode.MASS_CANCEL, "account": 16},
        {"opcode": Opcode.STATE, "quantity": 4},
        {"opcode": Opcode.STATE, "quantity": 1 << 31, "instrument": 3},
    ],
    ids=str,
)
def test_undefined_encodings(venue, fields):
    venue(new(0, B, 1400, 5))
    assert venue(make(COMMAND, **fields)) == [rejected(Reason.OPCODE, 0)]
    assert venue.book() == [(0, 1400, 5)]


def test_fence_close_and_hello_are_never_rejected(venue):
    for opcode in (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO):
        beats = venue.beats(make(COMMAND, opcode=opcode, flags=0xFF, instrument=99, account=1 << 31, tag=6))
        assert not len(beats.records)


@pytest.mark.parametrize("base", [-(1 << 31), (1 << 31) - 100])
def test_bands_at_the_ends_of_what_a_price_can_be(venue, base):
    venue(state(0, InstrumentState.LOADING, base), state(0, InstrumentState.OPEN))
    assert venue(new(1, B, base, 1)) == [ack(1, B, base, 1)]
    other = (1 << 31) - 1 if base < 0 else -(1 << 31)
    assert venue(new(2, B, other, 1)) == [rejected(Reason.PRICE, 2, other)]


def test_counters_epoch_and_last_seq(venue):
    venue.backend.reset(77)
    beats = venue.beats(
        command(Opcode.HELLO),
        command(99, seq=5),
        command(Opcode.FENCE, tag=1, seq=1 << 40),
        command(Opcode.HELLO, seq=3),
        command(Opcode.FENCE, tag=2),
        command(Opcode.CLOSE, tag=3),
        command(Opcode.FENCE, tag=4),
    )
    assert beats.hellos["last_seq"].tolist() == [0, 1 << 40, 0]
    assert beats.hellos["epoch"].tolist() == [77] * 3
    hello = beats.hellos[0]
    sizes = [int(hello[n]) for n in ("version", "instruments", "levels", "orders", "account_bits")]
    assert sizes == [1, G.instruments, G.levels, G.orders, G.account_bits]
    assert [(f.tag, f.commands, f.records, f.epoch) for f in beats.fences] == [
        (1, 2, 1, 77),
        (2, 4, 1, 77),
        (3, 5, 1, 77),
        (4, 0, 0, 77),
    ]
    assert [(b.tag, b.leaves, b.records, b.epoch) for b in beats.batches] == [(3, 1, 1, 77)]


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

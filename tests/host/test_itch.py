"""The feed for machines, read by two public readers, and by ours where datagrams are lost."""

import random
import secrets
import socket
import struct
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from importlib.resources import files

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.engine import Engine, SoftBackend
from hawse.instruments import Instrument
from hawse.itch import messages
from hawse.itch.book import Orders
from hawse.itch.feed import Feed
from hawse.itch.mold import HEADER, MOST, Publisher
from hawse.journal import Journal, Snapshots
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.state.config import VenueConfig
from hawse.state.slot import Deposit, SlotInput
from hawse.venue import Venue
from hawse.wire import Geometry, SelfTrade, TimeInForce
from hawse_client.itch import Lost, Receiver
from itch.parser import MessageParser
from meatpy.itch50 import ITCH50MarketProcessor, ITCH50MessageReader
from support.signed import OPERATOR, START

KEYS = [derive("itch", n) for n in range(1, 5)]
NAMES = ("BTC/USD", "ETH")
CONFIG = VenueConfig(
    instruments=tuple(
        Instrument(
            number=n,
            name=name,
            numerator=1,
            denominator=100,
            initial_margin_ppm=50_000,
            maker_fee_ppm=0,
            taker_fee_ppm=100,
            count=4096,
            base=1000,
            first_mark=2000,
            first=4096 * n,
        )
        for n, name in enumerate(NAMES)
    ),
    geometry=Geometry(instruments=2, pool=8192, orders=256, tag_bits=4),
    operator=address_of(OPERATOR),
)


class Trial:
    """A venue with four owners, and what it did of each slot."""

    def __init__(self, folder, seed):
        self.journal = Journal(folder / "journal", CONFIG.encode())
        self.engine = Engine(SoftBackend(CONFIG.geometry))
        self.done = []
        snapshots = Snapshots(folder / "snapshots")
        self.venue = Venue(CONFIG, self.engine, self.journal, snapshots, self.done.append)
        self.rng, self.ids, self.nonce = random.Random(seed), 0, START
        self.slot(deposits=tuple(Deposit(n, address_of(key), 10**12) for n, key in enumerate(KEYS, 1)))

    def slot(self, count=0, **inputs):
        """Orders near the mark, so that many trade, and what becomes of them."""
        rng, rows = self.rng, np.zeros(count, MESSAGE)
        kinds = [MessageKind.ORDER] * 6 + [MessageKind.REPLACE, MessageKind.REDUCE, MessageKind.CANCEL] * 2
        for row in rows:
            account, kind = rng.randint(1, 4), rng.choice(kinds)
            mine = [*self.venue.machine.accounts[account].orders.values()]
            kind = kind if mine else MessageKind.ORDER
            kind = MessageKind.CANCEL_ALL if rng.random() < 0.01 else kind
            self.nonce += 1
            row["kind"], row["account"], row["generation"] = kind, account, account << 24
            row["nonce"], row["expiry"] = self.nonce, self.nonce + 60_000
            row["price"], row["quantity"] = 2000 + rng.randint(-6, 6), rng.randint(1, 50)
            if kind == MessageKind.ORDER:
                self.ids += 1
                row["client_id"], row["instrument"], row["side"] = (
                    self.ids,
                    rng.randint(0, 1),
                    rng.randint(0, 1),
                )
                row["time_in_force"] = rng.choice([*TimeInForce] + 6 * [TimeInForce.GTC])
                row["mode"] = rng.choice([*SelfTrade])
            elif kind == MessageKind.CANCEL_ALL:
                row["instrument"], row["price"], row["quantity"] = 0xFFFF, 0, 0
            else:
                row["client_id"] = rng.choice(mine).client_id
                row["price"] = row["price"] if kind == MessageKind.REPLACE else 0
                row["quantity"] = 0 if kind == MessageKind.CANCEL else row["quantity"]
        sign(rows, CONFIG.domain, [KEYS[account - 1] for account in rows["account"].tolist()])
        return self.venue.run_slot(SlotInput(self.venue.next_slot, self.nonce, commands=rows, **inputs))

    def resting(self):
        """Per instrument and side, in the order in which they trade: ref, price and lots."""
        rows = self.venue.machine.resting_orders()
        found = {(name, side): [] for name in NAMES for side in "BS"}
        for row in rows:
            place = NAMES[row["instrument"]], "BS"[row["flags"] & 1]
            found[place].append((int(row["seq"]), int(row["price"]), int(row["quantity"])))
        return found

    def close(self):
        self.journal.close()
        self.engine.close()


@pytest.fixture
def trial(tmp_path):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    trial = Trial(tmp_path, seed)
    yield trial
    trial.close()


def framed(told):
    return b"".join(len(message).to_bytes(2, "big") + message for message in told)


class Book:
    """What the messages of one public reader make, order by order."""

    def __init__(self):
        self.orders, self.matches, self.count = {}, [], Counter()

    def take(self, data):
        for message in MessageParser().parse_stream(data):
            assert message.to_bytes() in data
            kind = message.message_type.decode()
            self.count[kind] += 1
            ref = getattr(message, "order_reference_number", None)
            if kind == "A":
                place = message.stock.decode().strip(), message.buy_sell_indicator.decode()
                assert ref not in self.orders
                self.orders[ref] = [place, message.price, message.shares]
            elif kind == "E":
                self.orders[ref][2] -= message.executed_shares
                self.matches.append((message.match_number, self.orders[ref][1], message.executed_shares))
            elif kind == "X":
                self.orders[ref][2] -= message.cancelled_shares
            elif kind == "D":
                del self.orders[ref]
            elif kind == "U":
                place = self.orders.pop(ref)[0]
                self.orders[message.new_order_reference_number] = [place, message.price, message.shares]
            if ref in self.orders and not self.orders[ref][2]:
                del self.orders[ref]

    def resting(self):
        """Refs ascend with time."""
        found = {(name, side): [] for name in NAMES for side in "BS"}
        for ref, (place, price, lots) in self.orders.items():
            found[place].append((ref, price, lots))
        for (_, side), mine in found.items():
            mine.sort(key=lambda one: (-one[1] if side == "B" else one[1], one[0]))
        return found


def test_a_public_reader_has_the_book_order_by_order_behind_each_slot(trial):
    orders, book = Orders(CONFIG, 0), Book()
    machine = trial.venue.machine
    book.take(framed(orders.opening(machine.time, machine.resting_orders())))
    for _ in range(12):
        trial.slot(60)
        told = orders.tell(trial.done[-1])
        book.take(framed(told))
        assert book.resting() == trial.resting()
    assert {*"SRHAEXDU"} <= book.count.keys() and book.count["E"] > 50
    assert [match for match, _, _ in book.matches] == [*range(1, len(book.matches) + 1)]
    # Who comes later begins with the orders that rest, and has the same book.
    late = Orders(CONFIG, len(book.matches))
    other = Book()
    other.take(framed(late.opening(machine.time, machine.resting_orders())))
    assert other.resting() == book.resting()
    trial.slot(60)
    for one, whose in ((orders, book), (late, other)):
        whose.take(framed(one.tell(trial.done[-1])))
        assert whose.resting() == trial.resting()


def test_the_file_of_a_session_is_read_by_another_public_reader(trial, tmp_path):
    machine = trial.venue.machine
    feed = Feed(tmp_path / "itch", CONFIG, ("127.0.0.1", 9), ("127.0.0.1", 0), machine, 0)
    for _ in range(5):
        trial.slot(60)
        feed.tell(trial.done[-1])
    expected = trial.resting()
    feed.close()
    (file,) = (tmp_path / "itch").iterdir()
    for name in NAMES:
        processor = ITCH50MarketProcessor(name, datetime(2026, 4, 24))
        for message in ITCH50MessageReader().read_file(file):
            processor.process_message(message)
        book = processor.current_lob
        for side, levels in (("B", book.bid_levels), ("S", book.ask_levels)):
            got = [(o.order_id, level.price, o.volume) for level in levels for o in level.queue]
            assert got == expected[name, side]


# Datagrams


class Lossy:
    """A socket that loses a part of what comes."""

    def __init__(self, real, rng, part):
        self.real, self.rng, self.part, self.lost, self.longest = real, rng, part, 0, 0

    def recv(self, size):
        while True:
            data = self.real.recv(size)
            self.longest = max(self.longest, len(data))
            # The end is told once; who loses that, too, finds out by silence.
            if self.rng.random() >= self.part or HEADER.unpack_from(data)[2] == 0xFFFF:
                return data
            self.lost += 1


@pytest.fixture
def listens():
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        one.bind(("127.0.0.1", 0))
        one.settimeout(5)
        yield one


def publisher(folder, listens):
    return Publisher(folder, listens.getsockname(), ("127.0.0.1", 0))


def some(count):
    rng = random.Random(7)
    return [struct.pack(">Q", n) + bytes(rng.randrange(1, 40)) for n in range(count)]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.97])
def test_what_is_lost_is_asked_for_again(tmp_path, listens, part):
    out, sent = publisher(tmp_path, listens), some(3000)
    for at in range(0, len(sent), 40):
        out.tell(sent[at : at + 40])
    lossy = Lossy(listens, random.Random(1), part)
    reader = Receiver(lossy, out.address)
    got = []
    for message in reader.messages():
        got.append(message)
        if len(got) == 1:
            out._send(HEADER.pack(out.session, out._next, 0xFFFF), out._target)
    assert got == sent and lossy.longest <= MOST and bool(lossy.lost) == bool(part)
    assert out.path.read_bytes() == framed(sent)
    reader.close()
    out.close()


def test_a_heartbeat_shows_that_the_last_was_lost(tmp_path, listens):
    out = publisher(tmp_path, listens)
    out.tell([b"lost"])
    assert listens.recv(MOST)[HEADER.size :] == b"\0\4lost"
    reader = Receiver(listens, out.address)
    assert next(reader.messages()) == b"lost"  # by the heartbeat alone
    reader.close()
    out.close()


def test_who_asks_for_what_is_not_there_gets_nothing(tmp_path, listens):
    out = publisher(tmp_path, listens)
    out.tell(some(10))
    listens.recv(MOST)
    bad = [
        b"",
        b"x" * 19,
        b"x" * 21,
        HEADER.pack(b"A" * 10, 1, 1),
        HEADER.pack(out.session, 0, 1),
        HEADER.pack(out.session, 11, 1),
        HEADER.pack(out.session, 1, 0),
        HEADER.pack(out.session, 2**64 - 1, 0xFFFF),
    ]
    for request in bad:
        listens.sendto(request, out.address)
    listens.sendto(HEADER.pack(out.session, 10, 0xFFFF), out.address)
    while not (answer := HEADER.unpack_from(listens.recv(MOST)))[2]:
        pass  # a heartbeat
    assert answer == (out.session, 10, 1)
    reader = Receiver(listens, ("127.0.0.1", 9), seconds=0.01, tries=2)
    listens.sendto(HEADER.pack(out.session, 5, 0), listens.getsockname())
    with pytest.raises(Lost, match="messages 1 to 4"):
        next(reader.messages())
    reader.close()
    out.close()


def test_a_feed_that_breaks_leaves_the_venue_alone(trial, tmp_path, caplog):
    feed = Feed(tmp_path / "itch", CONFIG, ("127.0.0.1", 9), ("127.0.0.1", 0), trial.venue.machine, 0)
    trial.slot(60)
    trial.slot(60)
    feed.tell(trial.done[-1])  # a slot is left out: it knows orders that this one does not
    trial.slot(60)
    feed.tell(trial.done[-1])
    assert "goes on without it" in caplog.text
    feed.close()


@pytest.mark.parametrize(("field", "value", "says"), [("name", "A LONG NAME", "A LONG"), ("base", -5, "-5")])
def test_what_itch_cannot_tell_of_is_refused(field, value, says):
    terms = replace(CONFIG.instruments[0], **{field: value})
    with pytest.raises(messages.Unfit, match=says):
        messages.symbol_of(terms)


def test_such_a_venue_does_not_begin(tmp_path):
    text = (files("hawse.cli") / "venue.toml").read_text().replace("BTC/USD", "a name too long")
    (tmp_path / "venue.toml").write_text(text)
    command = ["run", str(tmp_path / "venue"), "--config", str(tmp_path / "venue.toml"), "--itch"]
    done = CliRunner().invoke(main, [*command, "127.0.0.1:9"])
    assert done.exit_code == 2 and "a name too long" in done.output and not (tmp_path / "venue").exists()
    done = CliRunner().invoke(main, [*command, "nowhere"])
    assert done.exit_code == 2 and "'nowhere' is not HOST:PORT" in done.output

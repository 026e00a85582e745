"""What may go wrong around a gateway: readers, connections, floods, a host that is slow or ends.

The host is the test itself: it hands over slots, answers questions, and takes commands, or does not.
"""

import asyncio
import json
import os
import socket
import sqlite3
import threading
import time
from contextlib import suppress
from importlib.resources import files
from types import SimpleNamespace

import aiohttp
import pytest
from hawse.cli.intake import Incoming
from hawse.cli.run import load_config
from hawse.gateway import directory, feed
from hawse.gateway.accounts import Known, Watch, described
from hawse.gateway.directory import Directory
from hawse.gateway.errors import Refused
from hawse.gateway.limits import Limits, Rates, host_of
from hawse.gateway.server import Gateway, listen, url_of
from hawse.keys import lines, structs
from hawse.keys.signing import sign, sign_digest
from hawse.keys.store import address_of
from hawse.publisher.lines import Order
from hawse.publisher.store import Outcomes, _topic
from hawse.state.ledger import Account
from hawse.venue import Signed
from support.desk import Desk

KEYS = [bytes([n]) * 32 for n in (1, 2)]
CONFIG = load_config(files("hawse.cli") / "venue.toml", bytes(20), chain_id=31337, contract=bytes(range(20)))
GENERATION = 5 << 24


class Machine:
    """As much of one as a gateway looks at: accounts 1 and 2."""

    def __init__(self):
        owners = [address_of(key) for key in KEYS]
        self.accounts = [Account(0, bytes(20), 0)]
        self.accounts += [Account(n, owner, GENERATION) for n, owner in enumerate(owners, 1)]
        self.markets = {
            0: SimpleNamespace(mark=78_000, mark_time=0, open_interest=0, terms=CONFIG.instruments[0])
        }
        self.batch, self.time, self.insurance, self.fees, self.next_slot = 1, 0, 0, 0, 0

    def equity(self, account):
        return account.collateral

    free_collateral = withdrawable = equity


class Host:
    """The other side of a gateway."""

    def __init__(self, folder, **limits):
        self.path, self.machine, self.taken, self.takes = folder / "outcomes.db", Machine(), [], True
        with Outcomes(self.path):
            pass
        server = listen("127.0.0.1:0")
        self.url, self.port = url_of(server), server.getsockname()[1]
        self.gateway = Gateway(server, CONFIG, self.path, self.offer, Limits(**limits))
        self.gateway.start(-1, [], self.machine, 0)
        self.slot, self.answers, self.ended = -1, True, threading.Event()
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()

    def answer(self):
        while not self.ended.wait(0.005):
            if self.answers:
                self.gateway.answer(self.machine)

    def offer(self, rows, signed, arrived, tickets):
        if self.takes:
            self.taken += zip(rows, tickets, strict=True)
        return self.takes

    def tell(self, told=(), orders=(), kept=False):
        self.slot += 1
        mine = [{"slot": self.slot, "line": n} | line for n, line in enumerate(told)]
        if kept:
            with sqlite3.connect(self.path) as db:
                db.execute("INSERT INTO slots VALUES (?, ?)", (self.slot, 1000 + self.slot))
                rows = [
                    (0, self.slot, x["line"], x.get("account"), None, json.dumps(x), _topic(x)) for x in mine
                ]
                db.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            db.close()
        self.gateway.tell(self.slot, 1000 + self.slot, mine, orders, self.machine, 0)
        return mine

    def line(self, account=1, **fields):
        now = time.time_ns() // 1_000_000
        own = {"account": account, "generation": GENERATION, "nonce": now, "expiry": now + 30_000}
        rows = lines.parse(json.dumps(own | {"kind": "cancel", "client_id": 1} | fields))
        sign(rows, CONFIG.domain, [KEYS[account - 1]])
        return json.dumps(lines.unparse(rows)).encode()

    async def open(self, session, account=1, seconds=600):
        """A session's token."""
        async with session.get(f"{self.url}/v1/venue") as reply:
            gateway = bytes.fromhex((await reply.json())["gateway"][2:])
        now = time.time_ns() // 1_000_000
        asks = {"account": account, "generation": self.machine.accounts[account].generation}
        asks |= {"time": now, "expiry": now + round(1000 * seconds)}
        signature = sign_digest(
            CONFIG.domain.digest(structs.session(*asks.values(), gateway)), KEYS[account - 1]
        )
        async with session.post(
            f"{self.url}/v1/sessions", json=asks | {"signature": "0x" + signature.hex()}
        ) as reply:
            told = await reply.json()
            assert reply.status == 200, told
            return told["token"]

    def close(self, orderly=True):
        self.gateway.stop(orderly)
        self.ended.set()
        self.thread.join()
        assert not self.gateway._thread.is_alive()


@pytest.fixture
def host(tmp_path, request):
    host = Host(tmp_path, **getattr(request, "param", {}))
    yield host
    host.close()


def test_what_outruns_the_gateway_waits_at_its_sender_and_others_do_not(host):
    """Standard input is held back while the gateway has slots to tell; nothing of it is lost."""
    count, most, outlet, inlet = 12_000, 16, *os.pipe()
    line = host.line() + b"\n"
    busy, written = threading.Event(), []

    def write():
        for _ in range(count // 100):
            written.append(os.write(inlet, 100 * line) // len(line))
        os.close(inlet)

    incoming = Incoming(os.fdopen(outlet, "rb"), CONFIG.domain, True, lambda: host.gateway.is_behind)
    host.gateway._post(busy.wait, 60)
    writer = threading.Thread(target=write)
    writer.start()

    def slots(wait):
        """Of what there is, until there is nothing."""
        found = 0
        while commands := len(incoming.burst(most, wait)[0]):
            host.tell()
            found += commands
        return found

    before = slots(0.5)
    waiting = host.gateway._handed - host.gateway._taken
    assert host.gateway.is_behind and writer.is_alive() and 64 * most <= before <= count // 2
    assert waiting <= 64 + 17 * (1 << 16) // len(line) // most + 17
    rows = [lines.parse(line)]
    assert incoming.offer(rows, Signed.of(rows[0], CONFIG.domain, 1), [1], ["a trader's"])
    (one,) = incoming.burst(most, 0.5)[0].others
    assert one.ticket == "a trader's"
    busy.set()
    assert before + slots(0.5) == count == sum(written)


def limited(**limits):
    return pytest.mark.parametrize("host", [limits], indirect=True, ids=[next(iter(limits))])


def run(work, *more):
    async def go():
        async with aiohttp.ClientSession() as session:
            return await asyncio.wait_for(work(session, *more), 30)

    return asyncio.run(go())


async def read(socket_, test):
    while True:
        told = await socket_.receive_json(timeout=10)
        if test(told):
            return told


def resting(seq, price, quantity):
    return Order(seq, 1, GENERATION, seq, seq, 0, 0, price, quantity, remaining=quantity)


# ---- Readers


@limited(slow_seconds=0.3, heartbeat_seconds=100.0)
def test_a_reader_who_takes_nothing_is_told_why_and_costs_the_others_nothing(host):
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", host.port))
    ask = b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    slow.sendall(ask + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
    text = b'{"op":"subscribe","stream":"book"}'
    slow.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    time.sleep(0.3)

    async def work(session):
        async with session.ws_connect(f"{host.url}/v1/stream") as other:
            await other.send_json({"op": "subscribe", "stream": "book"})
            await read(other, lambda told: told.get("snapshot"))
            for n in range(60):
                await asyncio.to_thread(host.tell, (), [resting(k, 62_000 + k, n + 1) for k in range(3000)])
                assert (await read(other, lambda told: told.get("stream") == "book"))["sequence"] == n
            for _ in range(100):
                async with session.get(f"{host.url}/v1/status") as reply:
                    if (await reply.json())["connections"] == 1:
                        return
                await asyncio.sleep(0.05)
            raise AssertionError("the slow reader is still there")

    run(work)
    said, got = b"", b""
    slow.settimeout(5)
    with suppress(ConnectionError):
        while got := slow.recv(1 << 16):
            said = (said + got)[-500:]
    slow.close()
    assert b"slow reader: nothing was taken for 0.3 s" in said
    assert (4008).to_bytes(2, "big") + b"slow reader" in said


def test_a_reader_who_vanishes_in_the_middle_is_forgotten(host):
    async def work(session):
        sockets = [await session.ws_connect(f"{host.url}/v1/stream") for _ in range(20)]
        for one in sockets:
            await one.send_json({"op": "subscribe", "stream": "book"})
        host.tell((), [resting(1, 70_000, 5)])
        for one in sockets:
            await read(one, lambda told: told.get("stream") == "book" and "op" not in told)
        for one in sockets[:19]:
            one._response.connection.transport.abort()
        for n in range(50):
            host.tell((), [resting(1, 70_000, 6 + n)])
            await asyncio.sleep(0.01)
        assert (await read(sockets[19], lambda told: told.get("sequence") == host.slot))["bids"] == [
            [70_000, 55]
        ]
        for _ in range(50):
            async with session.get(f"{host.url}/v1/status") as reply:
                if (await reply.json())["connections"] == 1:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("connections are left")

    run(work)


def fill(n, account=1, generation=GENERATION):
    sides = ({"account": account, "role": "taker"}, {"account": 2, "role": "maker"})
    both = {
        "event": "trade",
        "generation": generation,
        "trade": n,
        "price": 70_000,
        "quantity": n,
        "instrument": 0,
    }
    return [both | {"side": "buy"} | side for side in sides]


def test_what_memory_has_lost_comes_from_the_disk(host, monkeypatch):
    monkeypatch.setattr(feed, "_SLOTS", 4)
    for n in range(1, 41):
        host.tell(fill(n), kept=True)

    async def work(session):
        token = await host.open(session)
        async with session.ws_connect(f"{host.url}/v1/stream") as one:
            await one.send_json({"op": "login", "token": token})
            await one.send_json({"op": "subscribe", "stream": "account", "from": 0})
            await one.send_json({"op": "subscribe", "stream": "trades", "from": 10})
            mine, trades = [], []
            while len(mine) < 42 or len(trades) < 32:
                if len(mine) == 40 and len(trades) == 30:
                    for n in (41, 42):
                        await asyncio.to_thread(host.tell, fill(n), (), True)
                told = await one.receive_json(timeout=10)
                if told.get("stream") in ("account", "trades") and "op" not in told:
                    kept = mine if told["stream"] == "account" else trades
                    assert told["previous"] == (kept[-1]["sequence"] if kept else (kept is mine and -1) or 9)
                    kept.append(told)
            assert [line["trade"] for told in mine for line in told["lines"]] == [*range(1, 43)]
            assert {line["role"] for told in mine for line in told["lines"]} == {"taker"}
            assert [t["trade"] for told in trades for t in told["trades"]] == [*range(11, 43)]
            assert [t["time"] for told in trades for t in told["trades"]] == [1000 + n for n in range(10, 42)]

    run(work)


def test_who_has_an_index_now_reads_nothing_of_who_had_it_before(host):
    host.tell(fill(1, generation=1 << 24), kept=True)
    host.tell([{"event": "timer", "account": 1, "instrument": 0}], kept=True)
    host.tell(fill(2), kept=True)
    host.tell([{"event": "timer", "account": 1, "instrument": 0}], kept=True)

    async def work(session):
        head = {"Authorization": "Bearer " + await host.open(session)}
        async with session.get(f"{host.url}/v1/account/lines", headers=head) as reply:
            assert [line["slot"] for line in (await reply.json())["lines"]] == [2, 3]
        async with session.get(f"{host.url}/v1/account/fills", headers=head) as reply:
            assert [line["trade"] for line in (await reply.json())["lines"]] == [2]

    run(work)


def test_a_live_stream_tells_of_one_life_of_its_account_alone(host):
    async def work(session):
        token = await host.open(session)
        async with session.ws_connect(f"{host.url}/v1/stream") as one:
            await one.send_json({"op": "login", "token": token})
            await one.send_json({"op": "subscribe", "stream": "account"})
            await read(one, lambda told: told.get("op") == "subscribe")
            await asyncio.to_thread(host.tell, fill(1, generation=1 << 24))
            await asyncio.to_thread(host.tell, fill(2))
            told = await read(one, lambda told: "lines" in told)
            assert [line["trade"] for line in told["lines"]] == [2]

    run(work)


@limited(heartbeat_seconds=0.1)
def test_a_session_that_ends_ends_its_stream(host):
    async def ended(session, seconds, work):
        token = await host.open(session, seconds=seconds)
        async with session.ws_connect(f"{host.url}/v1/stream") as one:
            await one.send_json({"op": "login", "token": token})
            await one.send_json({"op": "subscribe", "stream": "account"})
            await read(one, lambda told: told.get("op") == "subscribe")
            await asyncio.to_thread(work)
            while (frame := await one.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                assert "lines" not in frame.json()
            return frame.data, frame.extra

    def given_again():
        # The account's index goes to somebody else, in a slot that tells of it.
        host.machine.accounts[1] = Account(1, address_of(KEYS[1]), GENERATION + (1 << 24))
        host.tell(
            [{"event": "accepted", "kind": "deposit", "account": 1, "generation": GENERATION + (1 << 24)}]
        )

    async def work(session):
        code, why = await ended(session, 0.5, lambda: None)
        assert code == 4001 and "session" in why
        code, why = await ended(session, 600, given_again)
        assert code == 4001 and "may not read the account any more" in why

    run(work)


@limited(sessions=2)
def test_a_signer_has_so_many_sessions_and_the_oldest_ends(host):
    async def work(session):
        tokens = []
        for _ in range(3):
            tokens.append(await host.open(session))
            await asyncio.sleep(0.002)  # each message has a time of its own
        tokens.append(await host.open(session, account=2))
        found = []
        for token in tokens:
            async with session.get(
                f"{host.url}/v1/account/lines", headers={"Authorization": f"Bearer {token}"}
            ) as reply:
                found.append(reply.status)
        assert found == [401, 200, 200, 200]

    run(work)


# ---- Connections and floods


@limited(read_seconds=0.4)
def test_who_dribbles_is_cut_off(host):
    with socket.create_connection(("127.0.0.1", host.port)) as dribble:
        dribble.settimeout(5)
        start = time.monotonic()
        with suppress(ConnectionError):
            for byte in b"GET /v1/time HTTP/1.1\r\nHost: somewhere":
                dribble.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - start > 3:
                    break
        with suppress(ConnectionError):
            assert dribble.recv(100) == b""
        assert time.monotonic() - start < 3
    with socket.create_connection(("127.0.0.1", host.port)) as body:
        body.sendall(b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        body.settimeout(5)
        answer = b""
        while b"}" not in answer:
            answer += body.recv(4096)
        assert b" 408 " in answer and b'"code":"slow"' in answer


@limited(requests=5)
def test_a_flood_is_refused_by_both_numbers(host):
    async def work(session):
        told = []
        for _ in range(30):
            async with session.get(f"{host.url}/v1/time") as reply:
                told.append((reply.status, await reply.json(), reply.headers))
        status, last, head = told[-1]
        assert [one[0] for one in told[:10]] == [200] * 10 and status == 429
        assert last["error"]["code"] == "rate" and (last["error"]["have"], last["error"]["need"]) == (6, 5)
        assert head["RateLimit-Limit"] == "5" and head["RateLimit-Remaining"] == "0" and head["Retry-After"]
        await asyncio.sleep(0.5)
        async with session.ws_connect(f"{host.url}/v1/stream") as one:
            for _ in range(20):
                await one.send_json({"op": "ping"})
            await read(one, lambda told: told.get("op") == "pong")
            assert (await read(one, lambda told: told.get("op") == "error"))["error"]["code"] == "rate"

    run(work)


def test_a_bucket_fills_again_and_every_address_has_its_own():
    rates = Rates(10)
    assert all(rates.take("a", 0.0)[0] for _ in range(20))
    assert not rates.take("a", 0.0)[0] and rates.take("b", 0.0)[0]
    allowed, left, full = rates.take("a", 1.0)
    assert allowed and left == 9 and full == pytest.approx(1.1)
    assert host_of("10.0.0.1") == "10.0.0.1"
    assert host_of("2001:db8::1") == host_of("2001:db8::ffff") != host_of("2001:db8:0:1::1")


@limited(connections=3)
def test_one_address_holds_so_many_connections_and_no_more(host):
    async def work(session):
        held = [await session.ws_connect(f"{host.url}/v1/stream") for _ in range(3)]
        async with session.get(f"{host.url}/v1/stream", headers={"Upgrade": "websocket"}) as reply:
            told = await reply.json()
            assert (reply.status, told["error"]["code"]) == (429, "connections")
            assert (told["error"]["have"], told["error"]["need"]) == (4, 3)
        await held[0].close()
        await asyncio.sleep(0.1)
        await (await session.ws_connect(f"{host.url}/v1/stream")).close()

    run(work)


# ---- A host that is slow, or ends


@limited(waiting=2, answer_seconds=0.3)
def test_more_commands_than_may_wait_are_refused_and_those_that_wait_are_pending(host):
    host.takes = False

    async def work(session):
        async def send(n):
            async with session.post(f"{host.url}/v1/commands", data=host.line(client_id=n)) as reply:
                return reply.status, await reply.json()

        told = await asyncio.gather(*(send(n) for n in (1, 2, 3)))
        assert sorted(status for status, _ in told) == [202, 202, 503]
        (busy,) = [one for status, one in told if status == 503]
        assert (busy["error"]["code"], busy["error"]["have"], busy["error"]["need"]) == ("busy", 3, 2)
        assert all(one["pending"] and one["account"] == 1 for status, one in told if status == 202)

    run(work)


def test_who_waits_when_the_host_ends_is_told_whether_it_was_taken(tmp_path):
    for orderly, says in ((True, "the command was not taken"), (False, "ask for the order's status")):
        folder = tmp_path / str(orderly)
        folder.mkdir()
        host = Host(folder)

        async def work(session, host=host, orderly=orderly, says=says):
            async def send(n):
                async with session.post(f"{host.url}/v1/commands", data=host.line(client_id=n)) as reply:
                    return reply.status, await reply.json()

            one = await session.ws_connect(f"{host.url}/v1/stream")
            await read(one, lambda told: told.get("op") == "hello")
            waiting = [asyncio.create_task(send(n)) for n in (1, 2)]
            await one.send_json({"op": "command", "id": 3, "command": json.loads(host.line(client_id=3))})
            while len(host.taken) < 3:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(host.close, orderly)
            for status, told in await asyncio.gather(*waiting):
                error = told["error"]
                assert (status, error["code"]) == (503, "stopping") and says in error["message"]
            error = (await read(one, lambda told: told.get("id") == 3))["error"]
            assert error["code"] == "stopping" and says in error["message"]
            frame = await one.receive(timeout=5)
            assert (frame.data, frame.extra) == (1001, "the host ends")

        run(work)


def test_a_gateway_that_ends_by_a_fault_says_so_and_the_venue_goes_on(tmp_path, monkeypatch, caplog):
    host = Host(tmp_path)
    monkeypatch.setattr(Gateway, "_status_now", lambda self: 1 / 0)
    host.gateway._thread.join(10)
    assert not host.gateway._thread.is_alive()
    assert "the venue goes on without it" in caplog.text and "ZeroDivisionError" in caplog.text
    host.tell(fill(1))  # and nobody is in the host's way
    host.close()


def test_an_answer_goes_to_who_asked_and_tells_of_nobody_else(host):
    async def work(session):
        async def send(account):
            async with session.post(f"{host.url}/v1/commands", data=host.line(account, client_id=7)) as reply:
                return await reply.json()

        waiting = [asyncio.create_task(send(account)) for account in (1, 2)]
        while len(host.taken) < 2:
            await asyncio.sleep(0.01)
        accounts = [int(rows["account"][0]) for rows, _ in host.taken]
        told = host.tell(
            [
                {"seq": 50, "event": "trade", "account": accounts[0], "role": "taker"},
                {"seq": 50, "event": "trade", "account": 9, "role": "maker"},
                {"seq": 51, "event": "ack", "account": accounts[1]},
            ]
        )
        host.gateway.settle([t for _, t in host.taken], [50, 51], told, 1000, 0.001)
        answers = await asyncio.gather(*waiting)
        by_account = {account: answers[account - 1] for account in accounts}
        assert [line["seq"] for line in by_account[accounts[0]]["lines"]] == [50]
        assert [line["event"] for line in by_account[accounts[1]]["lines"]] == ["ack"]

    run(work)


@limited(answer_seconds=0.5)
def test_an_account_that_is_not_known_yet_holds_up_nobody_else_and_keeps_its_order(host):
    async def work(session):
        async def send(account, n):
            async with session.post(f"{host.url}/v1/commands", data=host.line(account, client_id=n)) as reply:
                return reply.status

        assert await send(1, 1) == 202  # taken, and account 1 is known now
        host.answers = False
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(send(2, 2))]
        await asyncio.sleep(0.05)
        waiting += [asyncio.create_task(send(2, 3)), asyncio.create_task(send(1, 4))]
        while len(host.taken) < 2:
            await asyncio.sleep(0.01)
        host.answers = True
        assert await asyncio.gather(*waiting) == [202] * 3
        assert [int(rows["client_id"][0]) for rows, _ in host.taken] == [1, 4, 2, 3]

    run(work)


def test_a_host_that_does_not_answer_and_a_question_that_fails(host, monkeypatch):
    monkeypatch.setattr(directory, "_PATIENCE", 0.2)
    owner = f"{host.url}/v1/owners/0x{'12' * 20}"

    async def work(session):
        async with session.get(owner) as reply:  # this machine has no such question
            assert (reply.status, (await reply.json())["error"]["code"]) == (500, "internal")
        host.answers = False
        await asyncio.sleep(0.05)
        async with session.get(owner) as reply:
            told = await reply.json()
            assert (reply.status, told["error"]["code"]) == (503, "busy") and reply.headers[
                "Retry-After"
            ] == "1"
        async with session.get(f"{host.url}/v1/time") as reply:
            assert reply.status == 200
        host.answers = True

    run(work)
    assert host.thread.is_alive()


def test_who_asks_the_same_again_and_again_asks_the_host_once(host):
    asked = []

    class Accounts(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    async def work(session):
        head = {"Authorization": "Bearer " + await host.open(session)}
        host.answers = False
        await asyncio.sleep(0.05)
        host.machine.accounts = Accounts(host.machine.accounts)

        async def ask():
            async with session.get(f"{host.url}/v1/account", headers=head) as reply:
                return (await reply.json())["account"]

        waiting = [asyncio.create_task(ask()) for _ in range(50)]
        await asyncio.sleep(0.3)
        host.gateway._questions.answer(host.machine)
        assert await asyncio.gather(*waiting) == [1] * 50
        assert asked == [1]

    run(work)


def test_a_venue_that_waits_is_not_ready_and_says_why(host):
    host.answers = False
    time.sleep(0.05)
    host.gateway.answer(host.machine, "128 batches wait to be anchored")

    async def work(session):
        async with session.get(f"{host.url}/ready") as reply:
            assert (reply.status, await reply.json()) == (
                503,
                {"ready": False, "waits": "128 batches wait to be anchored"},
            )
        async with session.get(f"{host.url}/health") as reply:
            assert reply.status == 200
        async with session.get(f"{host.url}/metrics") as reply:
            lines_ = (await reply.text()).splitlines()
            assert "hawse_waits 1" in lines_ and "# TYPE hawse_commands_total counter" in lines_
            samples = [line.split() for line in lines_ if not line.startswith("#")]
            assert all(len(sample) == 2 and float(sample[1]) >= -1 for sample in samples)

    run(work)


def test_who_may_sign_is_not_remembered_from_before_a_change():
    """A slot that changes an account while its answer is on its way makes the answer good for once."""
    answers = [Known(b"a" * 20, 1, {}), Known(b"b" * 20, 2, {})]

    class Questions:
        async def ask(self, *_):
            if len(answers) == 2:
                known.look([{"kind": "deposit", "account": 1}])
            return answers.pop(0)

    known = Directory(Questions())

    async def work():
        assert (await known.find(1)).generation == 1
        assert (await known.find(1)).generation == 2 == (await known.find(1)).generation

    asyncio.run(work())
    with pytest.raises(Refused, match="no such account"):
        answers.append(None)
        known.look([{"kind": "exit", "account": 1}])
        asyncio.run(known.find(1))


def test_an_account_is_told_as_the_state_has_it_and_the_nearest_to_liquidation_first():
    desk = Desk(3)
    price, lots = desk.machine.markets[0].mark, (30_000_000, 12_000_000, 18_000_000)
    orders = [desk.new(n + 1, 1, int(n > 0), price, lots[n]) for n in range(3)]
    assert desk.slot(orders) == []
    desk.move((0, price - 5))
    machine, watch, left = desk.machine, Watch(), []
    for account in list(machine.accounts)[1:4]:
        told = described(machine, account)
        assert told.positions and told.maintenance == machine.maintenance(account) > 0
        assert told.margin == told.equity - machine.free_collateral(account)
        left.append((told.equity - told.maintenance) * 1_000_000 // told.equity)
    watch.look(machine)
    assert watch.nearest() == sorted(left) and len(set(left)) == 3


@pytest.mark.parametrize("address", ["", "8080x", "127.0.0.1:", "127.0.0.1:70000", ":x"])
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        listen(address)


def test_an_address_that_is_taken_is_refused_before_there_is_a_venue(tmp_path):
    from click.testing import CliRunner
    from hawse.cli import main

    with listen("127.0.0.1:0") as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = CliRunner().invoke(main, ["run", str(tmp_path / "venue"), "--http", address])
    assert done.exit_code == 2 and "Address already in use" in done.output
    assert not (tmp_path / "venue").exists()

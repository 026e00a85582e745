"""What a trader installs, against a live venue: it signs, comes back and goes on; and the two examples."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hawse.keys.store import address_of
from hawse_client import Book, Client, ClientError, Refused, Unreachable
from support.live import KEYS, LiveVenue, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    venue = LiveVenue(tmp_path_factory.mktemp("client") / "venue")
    yield venue
    venue.close()
    assert "Traceback" not in venue.errors()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


async def until(stream, test):
    """The lines of a stream up to one that ``test`` holds for."""
    seen = []
    async for line in stream:
        seen.append(line)
        if test(line):
            return seen


def test_the_client_imports_neither_gateware_nor_chain():
    heavy = "{'amaranth', 'web3', 'eth_account', 'vyper'}"
    code = f"import sys, hawse_client; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_orders_and_answers(venue):
    async def work():
        async with Client(venue.url, KEYS[0]) as client:
            assert (await client.order(1, "buy", 70_000, 5000))["event"] == "ack"
            assert (await client.replace(1, 70_002, 4000))["lines"][0]["price"] == 70_002
            assert (await client.reduce(1, 3000))["lines"][0]["remaining"] == 3000
            assert [o["remaining"] for o in (await client.account())["orders"]] == [3000]
            with pytest.raises(Refused, match="client_id_used") as refused:
                await client.order(1, "buy", 70_000, 5000)
            assert refused.value.code == "client_id_used" and refused.value.have == 1
            assert (await client.cancel(1))["event"] == "cancelled"
            (order,) = (await client.order_status(1))["orders"]
            assert (order["state"], order["reason"]) == ("cancelled", "command")
            assert (await client.cancel_all_after(60_000))["event"] == "accepted"
            assert (await client.cancel_all_after(0))["event"] == "accepted"
            agent = "0x" + address_of(b"\x22" * 32).hex()
            await client.appoint(agent, client.now + 3_600_000)
            owner = "0x" + address_of(KEYS[0]).hex()
        async with Client(venue.url, b"\x22" * 32, owner=owner) as agent_s:
            assert (await agent_s.order(2, "buy", 70_000, 5000))["lines"][0]["account"] == 1
            with pytest.raises(Refused) as refused:
                await agent_s.withdraw(1)
            assert refused.value.code == "signer"
            await agent_s.cancel_all()

    run(work())


def test_a_client_without_a_key_reads_what_is_public(venue):
    async def work():
        async with Client(venue.url) as client:
            assert (await client.book()).mismatches == 0
            with pytest.raises(ClientError, match="has no key"):
                await client.order(1, "buy", 70_000, 5000)
        nowhere = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(Unreachable, match=nowhere):
            async with Client(nowhere, patience=0.2):
                pass
        with pytest.raises(Refused, match="a deposit opens one"):
            async with Client(venue.url, b"\x33" * 32):
                pass

    run(work())


def test_a_book_that_is_not_the_gateway_s_is_found_out_and_asked_for_anew(venue):
    async def work():
        async with Client(venue.url, KEYS[1]) as client:
            book = await client.book()
            await client.order(1, "buy", 70_100, 5000)
            assert book.bids(1) == [(70_100, 5000)]
            book._levels.put(0, 70_050, 1)  # a change that was missed
            await client.order(2, "buy", 70_101, 5000)
            while (70_050, 1) in book.bids():
                await asyncio.wait_for(book.change(), 10)
            assert book.mismatches == 1 and book.bids() == [(70_101, 5000), (70_100, 5000)]
            await client.cancel_all()

    run(work())


def test_a_gap_in_a_book_is_seen():
    book = Book(0)
    snapshot = {"snapshot": True, "sequence": 5, "bids": [], "asks": [], "check": 0}
    assert not book.take({"sequence": 4, "previous": 3, "bids": [], "asks": [], "check": 0})
    assert book.take(snapshot) and book.sequence == 5
    assert book.take({"sequence": 8, "previous": 4, "bids": [], "asks": [], "check": 0})
    assert not book.take({"sequence": 10, "previous": 9, "bids": [], "asks": [], "check": 0})
    assert book.mismatches == 2


def test_a_host_that_is_killed_costs_its_clients_nothing(venue):
    """Orders of one client go on through kills and orderly ends; each counts once and each is told once."""

    async def work():
        async with Client(venue.url, KEYS[2]) as client:
            told = []

            async def listen():
                async for line in client.outcomes():
                    told.append(line)

            listening = asyncio.create_task(listen())
            await client.order(1, "buy", 70_000, 5000)
            done = []
            for n, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
                first = 10 * (n + 1)
                orders = [client.order(first + k, "buy", 70_000 + k, 5000) for k in range(5)]
                under_way = [asyncio.create_task(order) for order in orders]
                await asyncio.sleep(0.01 * n)
                await asyncio.to_thread(venue.stop, number)
                await asyncio.to_thread(venue.start)
                done += await asyncio.gather(*under_way)
            assert [one["event"] for one in done] == ["ack"] * 15
            await client.cancel_all()
            last = (await client.order(99, "buy", 70_000, 5000))["slot"]
            await client.cancel_all()
            while not told or told[-1]["slot"] <= last:
                await asyncio.sleep(0.05)
            listening.cancel()
            assert client.connects > 2
            return told

    told = run(work())
    places = [(line["slot"], line["line"]) for line in told]
    assert places == sorted(set(places))
    acks = sorted(line["client_id"] for line in told if line["event"] == "ack")
    assert acks == sorted([1, 99, *(10 * n + k for n in (1, 2, 3) for k in range(5))])
    # What the stream told is all that there is, from its beginning to its end.
    kept, at, token = [], 0, venue.session(3)
    while (page := venue.get(f"/v1/account/lines?from={at}", token)[1])["lines"]:
        kept, at = kept + page["lines"], page["next"]
    inside = [line for line in kept if places[0][0] <= line["slot"] <= places[-1][0]]
    assert inside == told


def test_what_a_client_leaves_behind_is_cancelled_when_it_goes(venue):
    async def work():
        async with Client(venue.url, KEYS[3]) as client:
            await client.cancel_on_disconnect()
            await client.order(1, "buy", 70_000, 5000)
        async with Client(venue.url, KEYS[3]) as again:
            for _ in range(100):
                if not (await again.account())["orders"]:
                    break
                await asyncio.sleep(0.05)
            (order,) = (await again.order_status(1))["orders"]
            assert order["state"] == "cancelled"

    run(work())


def test_the_examples_trade_with_each_other(venue, tmp_path):
    for path in ("market_maker", "taker"):
        assert len((EXAMPLES / f"{path}.py").read_text().splitlines()) < 100
    for name, key in (("maker", KEYS[4]), ("taker", KEYS[5])):
        (tmp_path / name).write_text(key.hex())

    def start(example, key, *more):
        command = [sys.executable, EXAMPLES / f"{example}.py", venue.url, tmp_path / key, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)

    maker = start("market_maker", "maker", "60")
    taker = start("taker", "taker", "4")
    out, errors = taker.communicate(timeout=60)
    assert taker.returncode == 0 and b"4 trades; equity" in out, (out, errors)
    assert out.count(b", trade ") >= 4
    maker.send_signal(signal.SIGINT)
    out, errors = maker.communicate(timeout=30)
    assert maker.returncode != 0 and b"KeyboardInterrupt" in errors  # it was interrupted, and yet:
    assert venue.get("/v1/account", venue.session(5))[1]["orders"] == []

"""A venue's gateway as traders meet it: over HTTP, against a host in a process of its own."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import aiohttp
import jsonschema
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.commit import exits
from hawse.commit.exit_file import ExitFile
from hawse.commit.trees import Node
from hawse.gateway.errors import CODES
from hawse.gateway.levels import Levels
from hawse.keys import lines
from hawse.keys.store import address_of
from hawse_client.itch import Receiver
from hypothesis import given, settings
from hypothesis import strategies as st
from itch.parser import MessageParser
from support.live import KEYS, LiveVenue

BTC = {"kind": "order", "instrument": 0, "quantity": 10_000}


def datagrams():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.settimeout(10)
    return one


@pytest.fixture(scope="module")
def itch():
    """A socket that listens to a feed, and an address for requests."""
    with datagrams() as listens, datagrams() as other:
        address = other.getsockname()
        other.close()
        yield listens, address


@pytest.fixture(scope="module")
def venue(tmp_path_factory, itch):
    listens, (host, port) = itch
    feed = ("--itch", f"127.0.0.1:{listens.getsockname()[1]}", "--itch-requests", f"{host}:{port}")
    venue = LiveVenue(tmp_path_factory.mktemp("gateway") / "venue", "--batch-seconds", "1", *feed)
    yield venue
    venue.close()
    assert "Traceback" not in venue.errors()


class Numbers:
    """Client ids that no other test uses."""

    def __init__(self):
        self.last = 0

    def __call__(self):
        self.last += 1
        return self.last


number = Numbers()


def test_what_is_public_needs_no_session(venue):
    status, about = venue.get("/v1/venue")
    (terms,) = about["instruments"]
    assert status == 200 and terms["quanta_per_tick_lot"] == [1, 100]
    assert (terms["lowest_price"], terms["highest_price"], terms["taker_fee_ppm"]) == (62_000, 94_767, 100)
    assert venue.get("/v1/instruments/0") == (200, terms)
    _, clock = venue.get("/v1/time")
    assert abs(clock["time"] - time.time() * 1000) < 5000 and clock["slot"] >= 0
    _, owned = venue.get(f"/v1/owners/0x{address_of(KEYS[2]).hex()}")
    assert (owned["account"], owned["generation"]) == (3, 3 << 24)


def test_an_order_has_its_outcome_and_a_status_that_lasts(venue):
    one, other = number(), number()
    status, done = venue.command(1, **BTC, client_id=one, side="sell", price=78_500)
    assert (status, done["event"], done["lines"][0]["client_id"]) == (200, "ack", one)
    status, done = venue.command(2, **BTC | {"quantity": 4000}, client_id=other, side="buy", price=78_500)
    events = [line["event"] for line in done["lines"]]
    assert events == ["ack", "trade"] and done["lines"][1]["role"] == "taker"
    # The maker's line of the same trade is not the taker's to see.
    assert {line["account"] for line in done["lines"]} == {2}
    trade = done["lines"][1]
    assert (trade["cumulative"], trade["remaining"], trade["quantity"]) == (4000, 0, 4000)
    token = venue.session(1)
    _, told = venue.get(f"/v1/account/orders?client_id={one}", token)
    (order,) = told["orders"]
    assert (order["state"], order["cumulative"], order["remaining"]) == ("open", 4000, 6000)
    assert [line["event"] for line in told["lines"]] == ["ack", "trade"]
    _, fills = venue.get("/v1/account/fills", token)
    assert fills["lines"][-1]["trade"] == trade["trade"] and fills["lines"][-1]["role"] == "maker"
    _, trades = venue.get(f"/v1/instruments/0/trades?from={done['slot']}")
    assert trades["trades"][0]["trade"] == trade["trade"] and trades["trades"][0]["side"] == "buy"
    assert venue.command(1, kind="cancel", client_id=one)[0] == 200
    assert venue.get(f"/v1/account/orders?client_id={one}", token)[1]["orders"][0]["state"] == "cancelled"


def test_all_that_a_trader_may_ask_of_his_orders(venue):
    one, two = number(), number()
    place = BTC | {"side": "buy", "price": 70_000}
    assert venue.command(3, **place, client_id=one)[1]["event"] == "ack"
    status, done = venue.command(3, kind="replace", client_id=one, price=70_001, quantity=9000)
    assert (status, done["event"], done["lines"][0]["price"]) == (200, "replaced", 70_001)
    assert venue.command(3, kind="reduce", client_id=one, quantity=5000)[1]["lines"][0]["remaining"] == 5000
    assert venue.command(3, **place, client_id=two)[1]["event"] == "ack"
    token = venue.session(3)
    _, account = venue.get("/v1/account", token)
    assert {(o["client_id"], o["remaining"]) for o in account["orders"]} == {(one, 5000), (two, 10_000)}
    held = account["equity"] - account["free_collateral"]
    assert account["margin"] == held > 0 and account["collateral"] == account["equity"]
    assert venue.command(3, kind="cancel_all", instrument=0xFFFF)[0] == 200
    assert venue.get("/v1/account", token)[1]["orders"] == []
    assert venue.command(3, kind="cancel_all_after", delay=60_000)[0] == 200
    assert venue.get("/v1/account", token)[1]["cancel_all_at"] > time.time() * 1000
    assert venue.command(3, kind="cancel_all_after", delay=0)[0] == 200


def test_money_moves_by_the_owner_s_word(venue):
    token = venue.session(4)
    before = venue.get("/v1/account", token)[1]["collateral"]
    status, done = venue.command(4, kind="transfer", to_subaccount=1, amount=50_000_000)
    assert (status, done["event"]) == (200, "accepted") and done["lines"][0]["to_account"] > 10
    assert venue.command(4, kind="withdraw", amount=30_000_000)[1]["event"] == "accepted"
    assert venue.get("/v1/account", token)[1]["collateral"] == before - 80_000_000
    end = time.monotonic() + 30
    while not (told := venue.get("/v1/account/withdrawals", token)[1]["withdrawals"]):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert told[0]["amount"] == 30_000_000 and told[0]["among"]["count"] == 1
    assert venue.get("/v1/batches?limit=1")[1][0]["transaction"].startswith("0x")


def test_a_trader_has_the_operator_s_word_on_his_own_inputs_alone(venue, tmp_path):
    one = number()
    status, done = venue.command(6, **BTC, client_id=one, side="sell", price=79_500)
    assert status == 200
    _, met = venue.command(7, **BTC | {"quantity": 4000}, client_id=number(), side="buy", price=79_500)
    token, path, end = venue.session(6), f"/v1/account/receipt?seq={done['seq']}", time.monotonic() + 30
    while (told := venue.get(path, token))[0] == 404 or told[1]["batch"] is None:
        assert time.monotonic() < end, told
        time.sleep(0.2)
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(told[1]))
    rpc = json.loads((venue.directory / "run.json").read_text())["rpc"]
    found = CliRunner().invoke(main, ["receipt", "check", str(file), "--rpc", rpc])
    assert found.exit_code == 0 and "he kept his word; it is final" in found.output
    came, answered, *_ = told[1]["times"]
    assert time.time_ns() - 60 * 10**9 < came < answered < time.time_ns()
    # His own side of a trade stands in a line of the other one's input, which is not his to have.
    for account, seq in ((6, met["seq"]), (7, done["seq"]), (6, 10**9)):
        status, error = venue.get(f"/v1/account/receipt?seq={seq}", venue.session(account))
        assert (status, error["error"]["code"]) == (404, "not_found")
    assert venue.get(path)[0] == 401


def test_an_agent_trades_and_reads_until_he_is_revoked(venue):
    agent = b"\x11" * 32
    address = "0x" + address_of(agent).hex()
    status, told = venue.command(5, agent, **BTC, client_id=number(), side="buy", price=70_000)
    assert (status, told["error"]["code"], told["error"]["signer"]) == (403, "signer", address)
    assert told["error"]["need"] == "0x" + address_of(KEYS[4]).hex()
    later = int(time.time() * 1000) + 3_600_000
    assert venue.command(5, kind="appoint", agent=address, agent_expiry=later)[0] == 200
    assert venue.command(5, agent, **BTC, client_id=number(), side="buy", price=70_000)[0] == 200
    token = venue.session(5, agent)
    _, nonces = venue.get("/v1/account/nonces", token)
    assert nonces["signer"] == address and len(nonces["used"]) == 1 and nonces["highest"] == venue.nonce
    assert venue.command(5, agent, kind="withdraw", amount=1)[1]["error"]["code"] == "signer"
    assert venue.command(5, kind="revoke", agent=address)[0] == 200
    status, told = venue.get("/v1/account", token)
    assert (status, told["error"]["code"]) == (401, "session")
    status, told = venue.command(5, agent, kind="cancel_all", instrument=0xFFFF)
    assert (status, told["error"]["code"]) == (403, "signer")
    assert venue.command(5, kind="cancel_all", instrument=0xFFFF)[0] == 200


def test_an_order_is_judged_before_it_is_sent(venue):
    token, one = venue.session(9), number()
    asked = "/v1/account/what-if?instrument=0&side=buy&price=70000&quantity="
    status, told = venue.get(asked + "10000", token)
    assert (status, told["admitted"], told["reason"]) == (200, True, "") and told["held"] > 0
    _, before = venue.get("/v1/account", token)
    assert before["orders"] == [] and before["free_collateral"] == told["before"]["free_collateral"]
    assert venue.command(9, **BTC, client_id=one, side="buy", price=70_000)[1]["event"] == "ack"
    _, after = venue.get("/v1/account", token)
    names = ("equity", "margin", "maintenance", "free_collateral")
    assert {name: after[name] for name in names} == told["after"]
    status, told = venue.get(asked + "10000&reduce_only=true", token)
    assert (status, told["admitted"], told["reason"], told["held"]) == (200, False, "reduce_only", 0)
    assert (told["have"], told["need"]) == (0, 10_000)
    status, told = venue.get(asked + "0", token)
    assert (status, told["error"]["code"]) == (400, "request") and "quantity" in told["error"]["message"]
    assert venue.command(9, kind="cancel", client_id=one)[0] == 200


def test_what_an_account_has_in_a_batch_is_proven(venue, tmp_path):
    token, end = venue.session(9), time.monotonic() + 30
    assert venue.command(9, kind="cancel_all", instrument=0)[0] == 200
    while (answer := venue.get("/v1/account/proof", token))[0] == 404:
        assert time.monotonic() < end
        time.sleep(0.2)
    (tmp_path / "exit.json").write_text(json.dumps(answer[1]))
    header, leaf, proof = ExitFile.read(tmp_path / "exit.json").terms()
    top = Node(header.exit_root, (header.exit_positive, header.exit_shortfall))
    assert exits.verify(leaf, header.accounts, proof, top)
    assert (leaf.index, leaf.owner) == (9, address_of(KEYS[8]))
    assert not exits.verify(replace(leaf, equity=leaf.equity + 1), header.accounts, proof, top)
    (batch,) = venue.get(f"/v1/batches?limit=1&before={header.number + 1}")[1]
    assert batch["state_root"] == "0x" + header.state_root.hex()


@pytest.mark.parametrize(
    ("fields", "code", "have", "need"),
    [
        ({"expiry": 1}, "expired", 1, None),
        ({"client_id": 0}, "request", 0, 1),
        ({"quantity": 99}, "min_quantity", 99, 100),
        ({"quantity": 100}, "min_notional", 78_000, 1_000_000),
        ({"price": 94_768}, "price", None, None),
        ({"instrument": 7}, "no_instrument", 7, 0),
    ],
)
def test_what_the_venue_refuses_has_its_code_and_both_numbers(venue, fields, code, have, need):
    order = BTC | {"client_id": number(), "side": "buy", "price": 70_000} | fields
    status, told = venue.command(6, **order)
    assert (status, told["error"]["code"]) == (422, code)
    assert told["outcome"]["lines"][0]["event"] in ("refused", "rejected")
    assert have is None or told["error"]["have"] == have
    assert need is None or told["error"]["need"] == need
    assert abs(told["time"] - time.time() * 1000) < 5000 and abs(told["time"] - told["slot_time"]) < 5000


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "line", "not the JSON object"),
        (b"\x00\xff\xfe", 400, "line", "not the JSON object"),
        (b'{"kind": "order"', 400, "line", "truncated"),
        (b'{"kind": "steal"}', 400, "line", "kind: 'steal' is none of"),
        (b'{"kind": "cancel", "price": 1}', 400, "line", "price: CANCEL has no such field"),
        (
            b'{"kind": "order", "quantity": 4294967296}',
            400,
            "line",
            "quantity: 4294967296 is not an integer within",
        ),
        (b'{"kind": "order", "quantity": 1.5}', 400, "line", "quantity: 1.5"),
        (b"[" * 4000, 400, "line", "not the JSON object"),
        (b'{"kind": "cancel"}', 404, "account", "no such account"),
        (b'{"kind": "cancel", "account": 77, "client_id": 1}', 404, "account", "no such account"),
        (b'{"kind": "cancel", "account": 1, "client_id": 1}', 401, "signature", "no key fits"),
        (b" " * 4097, 413, "too_large", "larger than any message"),
    ],
)
def test_a_body_that_is_no_signed_command_enters_no_slot(venue, body, status, code, says):
    got, told, _ = venue.call("POST", "/v1/commands", body)
    assert (got, told["error"]["code"]) == (status, code) and says in told["error"]["message"]


def test_a_command_counts_once_however_often_it_comes(venue):
    line = venue.line(6, **BTC, client_id=number(), side="buy", price=70_000)
    assert venue.call("POST", "/v1/commands", line)[0] == 200
    status, told, _ = venue.call("POST", "/v1/commands", line)
    assert (status, told["error"]["code"], told["error"]["have"]) == (422, "nonce_used", line["nonce"])
    status, told, _ = venue.call("POST", "/v1/commands", line | {"price": 70_001})
    assert (status, told["error"]["code"]) == (403, "signer") and told["error"]["signer"] != told["error"][
        "need"
    ]
    gone = venue.line(6, kind="cancel_all", instrument=0xFFFF, generation=5)
    status, told, _ = venue.call("POST", "/v1/commands", gone)
    assert (status, told["error"]["have"], told["error"]["need"]) == (409, 5, 6 << 24)
    assert venue.command(6, kind="cancel_all", instrument=0xFFFF)[0] == 200


def test_nobody_reads_an_account_without_its_owner_s_word(venue):
    now = int(time.time() * 1000)
    assert venue.get("/v1/account")[1]["error"]["code"] == "session"
    assert venue.get("/v1/account", "00" * 32)[0] == 401
    asks = venue.asks(7)
    token = venue.call("POST", "/v1/sessions", asks)[1]["token"]
    replayed = venue.call("POST", "/v1/sessions", asks)
    assert (replayed[0], replayed[1]["error"]["code"]) == (401, "session")
    for wrong, status, code in (
        (venue.asks(7, KEYS[0]), 403, "signer"),
        (venue.asks(7, account=8, generation=8 << 24), 403, "signer"),
        (venue.asks(7, now=now - 60_000), 400, "clock"),
        (venue.asks(7, until=now - 1), 400, "request"),
        (venue.asks(7, until=now + 10**9), 400, "request"),
        (venue.asks(7, extra=1), 400, "request"),
        (venue.asks(7, signature="0x00"), 400, "request"),
        (venue.asks(7, signature="0x" + "00" * 64), 401, "signature"),
    ):
        got, told, _ = venue.call("POST", "/v1/sessions", wrong)
        assert (got, told["error"]["code"]) == (status, code), told
    assert venue.get("/v1/account", token)[1]["account"] == 7
    assert venue.call("DELETE", "/v1/sessions", token=token)[1] == {"ended": True}
    assert venue.get("/v1/account", token)[0] == 401


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/nothing", 404, "Not Found"),
        ("/v1/instruments/9", 404, "no instrument"),
        ("/v1/instruments/9/book", 404, "no instrument"),
        ("/v1/instruments/70000", 400, "number"),
        ("/v1/instruments/0/book?depth=0", 400, "depth"),
        ("/v1/instruments/0/book?deep=1", 400, "deep"),
        ("/v1/instruments/0/book?depth=1&depth=2", 400, "depth: is given twice"),
        ("/v1/owners/0x12", 400, "address"),
        ("/v1/owners/0x" + "12" * 20, 404, "a deposit opens one"),
        ("/v1/batches?before=x", 400, "before"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(venue, path, status, says):
    got, told = venue.get(path)
    assert got == status and says in told["error"]["message"]


def test_limits_stand_in_the_headers(venue):
    _, _, head = venue.call("GET", "/v1/time")
    assert head["RateLimit-Limit"] == "1000" and 0 < int(head["RateLimit-Remaining"]) < 2000
    assert "default-src 'self'" in head["Content-Security-Policy"]
    status, told, head = venue.call("PUT", "/v1/time")
    assert (status, told["error"]["code"], head["Allow"]) == (405, "method", "GET")


def test_every_path_of_openapi_is_there_and_no_other(venue):
    _, spec = venue.get("/openapi.json")
    assert spec["openapi"] == "3.1.0" and len(spec["paths"]) >= 18
    kinds = [one["title"] for one in spec["components"]["schemas"]["Command"]["oneOf"]]
    assert len(kinds) == 14 and "cancel_all_after" in kinds
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            filled = path.replace("{number}", "0").replace("{address}", "0x" + address_of(KEYS[0]).hex())
            status, told, _ = venue.call(method.upper(), filled, b"{}" if method == "post" else None)
            assert str(status) in operation["responses"], (method, path, told)


_WILD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=150)
def test_whatever_is_asked_has_a_documented_answer(venue, data):
    """Requests made of the gateway's own description, with values in and out of it."""
    spec = venue.get("/openapi.json")[1]
    path = data.draw(st.sampled_from(sorted(spec["paths"])))
    method, operation = data.draw(st.sampled_from(sorted(spec["paths"][path].items())))
    query = {}
    for parameter in operation.get("parameters", ()):
        value = data.draw(st.integers(-1, 2**64) | st.text(max_size=20) | st.just("0x" + "ab" * 20))
        if parameter["in"] == "path":
            filled = urllib.parse.quote(str(value), safe="")
            path = path.replace("{" + parameter["name"] + "}", filled or "0")
        elif data.draw(st.booleans()):
            query[parameter["name"]] = value
    if data.draw(st.integers(0, 9)) == 0:
        query[data.draw(st.text(min_size=1, max_size=9))] = 1
    body = None
    if "requestBody" in operation:
        names = [
            "kind",
            "account",
            "generation",
            "nonce",
            "expiry",
            "time",
            "signature",
            "client_id",
            "price",
            "legs",
        ]
        members = st.dictionaries(
            st.sampled_from(names), _WILD | st.sampled_from(["order", "cancel", "multi_leg"])
        )
        body = data.draw(members.map(json.dumps).map(str.encode) | st.binary(max_size=200))
    token = data.draw(st.sampled_from([None, "x", "\u00e9"])) if "security" in operation else None
    head = {} if token is None else {"Authorization": f"Bearer {token}".encode("latin-1").decode("latin-1")}
    full = path + ("?" + urllib.parse.urlencode(query) if query else "")
    status, told, _ = venue.call(method.upper(), full, body, headers=head)
    assert str(status) in operation["responses"] and status < 500, (method, full, body, told)
    if status >= 400:
        assert (
            told["error"]["code"] in CODES
            and told["error"]["message"]
            and told["time"]
            and "slot_time" in told
        )


def test_a_load_is_answered_and_its_latency_counted_from_when_it_was_due(venue):
    pytest.importorskip("hdrh", reason="hawse load needs the extra bench")
    command = [sys.executable, "-m", "hawse.cli", "load", venue.url, "--rate", "300", "--seconds", "1"]
    command += ["--accounts", "2", "--readers", "3", "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert (told["orders"], told["errors"], told["failed"]) == (300, 0, {})
    late = told["latency_ms"]
    assert 0 < late["p50"] <= late["p99"] <= late["p999"] <= late["max"] and told["sync_ms"] > 0
    nobody = [sys.executable, "-m", "hawse.cli", "load", "http://127.0.0.1:1"]
    done = subprocess.run(nobody, capture_output=True, check=False)
    assert done.returncode == 1 and b"http://127.0.0.1:1" in done.stderr and b"Traceback" not in done.stderr


# ---- WebSocket


def talk(venue, work, first=lambda hello: None):
    """What a coroutine does with a WebSocket, within a minute; ``first`` gets the hello."""

    async def go():
        async with aiohttp.ClientSession() as session, session.ws_connect(venue.url + "/v1/stream") as socket:
            hello = await socket.receive_json(timeout=10)
            assert hello["op"] == "hello"
            first(hello)
            return await asyncio.wait_for(work(socket), 60)

    return asyncio.run(go())


async def until(socket, test):
    """The first message that ``test`` holds for, and all before it."""
    seen = []
    while True:
        seen.append(await socket.receive_json(timeout=20))
        if test(seen[-1]):
            return seen


async def said(socket, **asks):
    await socket.send_json(asks | {"id": "x"})
    return (await until(socket, lambda told: told.get("id") == "x"))[-1]


def test_a_book_by_its_changes_is_the_book(venue):
    async def work(socket):
        await said(socket, op="subscribe", stream="book", instrument=0)
        whole = (await until(socket, lambda told: told.get("snapshot")))[-1]
        levels, at = Levels(), whole["sequence"]
        levels.take(whole["bids"], whole["asks"])
        assert levels.check == whole["check"]
        for n in range(6):
            price = 70_000 + n // 2
            done = await asyncio.to_thread(
                venue.command, 8, **BTC, client_id=number(), side="buy", price=price
            )
            changes = await until(socket, lambda told, slot=done[1]["slot"]: told.get("sequence", -1) >= slot)
            for change in [c for c in changes if c.get("stream") == "book"]:
                assert change["previous"] <= at < change["sequence"]
                at = change["sequence"]
                levels.take(change["bids"], change["asks"])
                assert levels.check == change["check"]
        _, book = await asyncio.to_thread(venue.get, "/v1/instruments/0/book")
        assert book["bids"] == [[p, q] for p, q in levels.bids()] and book["check"] == levels.check
        assert (70_002, 20_000) in levels.bids()
        return at

    at = talk(venue, work)
    venue.command(8, kind="cancel_all", instrument=0xFFFF)

    async def resumed(socket):
        await said(socket, op="subscribe", stream="book", instrument=0, **{"from": at + 1})
        return await until(socket, lambda told: told.get("stream") == "book" and "op" not in told)

    first = talk(venue, resumed)[-1]
    assert "snapshot" not in first and first["previous"] <= at and [70_002, 0] in first["bids"]


def test_an_account_s_stream_goes_on_where_it_was_and_tells_of_nobody_else(venue):
    token, own, other = venue.session(9), number(), number()
    first = venue.get("/v1/time")[1]["slot"] + 1
    venue.command(9, **BTC, client_id=own, side="sell", price=79_000)
    venue.command(10, **BTC, client_id=other, side="buy", price=79_000)

    async def work(socket, start):
        refused = await said(socket, op="subscribe", stream="account")
        assert refused["error"]["code"] == "session"
        assert (await said(socket, op="login", token="0" * 64))["error"]["code"] == "session"
        assert (await said(socket, op="login", token=token))["account"] == 9
        await said(socket, op="subscribe", stream="account", **{"from": start})
        seen = await until(socket, lambda told: any(x.get("event") == "trade" for x in told.get("lines", ())))
        return [told for told in seen if told.get("stream") == "account" and "op" not in told]

    told = talk(venue, lambda socket: work(socket, first))
    lines = [line for one in told for line in one["lines"]]
    assert [line["event"] for line in lines if line["client_id"] == own] == ["ack", "trade"]
    assert {line["account"] for line in lines} == {9} and lines[0]["slot"] >= first
    for before, after in pairwise(told):
        assert after["previous"] == before["sequence"]
    # The same from the beginning of the venue, and by pages: nothing is lost and nothing told twice.
    whole = [line for one in talk(venue, lambda socket: work(socket, 0)) for line in one["lines"]]
    paged, at = [], 0
    while (page := venue.get(f"/v1/account/lines?from={at}&limit=1", token)[1])["lines"]:
        paged, at = paged + page["lines"], page["next"]
    assert paged[: len(whole)] == whole and whole[0]["kind"] == "deposit"


def test_commands_by_websocket_and_the_last_word(venue):
    async def work(socket):
        await socket.send_json(
            {
                "op": "command",
                "id": 1,
                "command": venue.line(8, **BTC, client_id=number(), side="buy", price=70_000),
            }
        )
        done = (await until(socket, lambda told: told.get("id") == 1))[-1]
        assert done["outcome"]["event"] == "ack"
        bad = await said(socket, op="command", command={"kind": "nothing"})
        assert bad["error"]["code"] == "line"
        order = venue.line(8, **BTC, client_id=number(), side="buy", price=70_000)
        assert "takes cancel" in (await said(socket, op="on_disconnect", command=order))["error"]["message"]
        last = venue.line(8, kind="cancel_all", instrument=0xFFFF)
        assert (await said(socket, op="on_disconnect", command=last))["armed"]
        # Not yet: the connection is there.
        token = await asyncio.to_thread(venue.session, 8)
        return token, (await asyncio.to_thread(venue.get, "/v1/account", token))[1]["orders"]

    token, orders = talk(venue, work)
    assert orders
    end = time.monotonic() + 10
    while venue.get("/v1/account", token)[1]["orders"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_rows_in_a_binary_frame_are_commands_each_with_its_answer(venue):
    def row(account, **fields):
        return lines.parse(json.dumps(venue.line(account, **fields))).tobytes()

    async def work(socket):
        place = BTC | {"side": "buy", "price": 70_000}
        good, forged = row(8, **place, client_id=number()), bytearray(row(8, **place, client_id=number()))
        forged[16] ^= 1  # another quantity than was signed
        agent = row(8, kind="appoint", agent="0x" + "77" * 20, agent_expiry=int(time.time() * 1000) + 60_000)
        assert len(agent) == 256
        unsound = bytearray(row(8, **place, client_id=number()))
        unsound[6] = 1  # a gap that is zero
        await socket.send_bytes(
            good + forged + agent + unsound + row(8, kind="cancel_all", instrument=0xFFFF)
        )
        found = {}
        while len(found) < 5:
            told = await socket.receive_json(timeout=10)
            if "nonce" in told:
                found[told["nonce"]] = (
                    told["outcome"]["event"] if "outcome" in told else told["error"]["code"]
                )
        return [found[nonce] for nonce in sorted(found)]

    assert talk(venue, work) == ["ack", "signer", "accepted", "line", "accepted"]


def test_the_feed_for_machines_has_the_book_that_people_see(venue, itch):
    one = number()
    assert venue.command(10, **BTC, client_id=one, side="buy", price=69_000)[1]["event"] == "ack"
    book = venue.get("/v1/instruments/0/book")[1]
    last = venue.get("/v1/instruments/0/trades?from=0")[1]["trades"][-1]["trade"]
    reader, orders, match = Receiver(*itch), {}, 0
    levels = Counter()
    for message in reader.messages():
        (told,) = MessageParser().parse_stream(len(message).to_bytes(2, "big") + message)
        kind, ref = told.message_type, getattr(told, "order_reference_number", None)
        if kind == b"A":
            assert told.stock == b"BTC/USD "
            orders[ref] = [told.buy_sell_indicator, told.price, told.shares]
        elif kind == b"E":
            match = max(match, told.match_number)
            orders[ref][2] -= told.executed_shares
        elif kind == b"X":
            orders[ref][2] -= told.cancelled_shares
        elif kind == b"U":
            orders[told.new_order_reference_number] = [orders.pop(ref)[0], told.price, told.shares]
        elif kind == b"D":
            del orders[ref]
        levels = Counter()
        for side, price, lots in orders.values():
            levels[side, price] += lots
        if (b"B", 69_000) in levels:
            break
    assert match == last
    seen = {(b"B", price): lots for price, lots in book["bids"]}
    seen |= {(b"S", price): lots for price, lots in book["asks"]}
    assert {level: lots for level, lots in levels.items() if lots} == seen
    reader.close()
    assert venue.command(10, kind="cancel", client_id=one)[0] == 200


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("{", "not what a client may ask"),
        ("[]", "not what a client may ask"),
        ('{"op": "shutdown"}', "not what a client may ask"),
        ('{"op": "ping", "more": 1}', "more"),
        ('{"op": "subscribe"}', "`stream`"),
        ('{"op": "subscribe", "stream": "book", "instrument": 9}', "none of this number"),
        ('{"op": "subscribe", "stream": "book", "from": 1000000000}', "the slot has not been yet"),
        ('{"op": "unsubscribe", "stream": "book"}', "is not subscribed to"),
        ('{"op": "command"}', "`command`"),
        ("[" * 8000, "not what a client may ask"),
        (b"", "a binary frame is rows"),
        (b"\x00\x01\x02", "a binary frame is rows"),
        (bytes([9]) + bytes(127), "whose second row is missing"),
        (bytes(128), "no such account"),
    ],
)
def test_a_frame_that_asks_for_nothing_is_answered_and_the_next_one_served(venue, frame, says):
    async def work(socket):
        await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
        answer = (await until(socket, lambda told: told["op"] != "heartbeat"))[-1]
        assert answer["op"] == "error" and says in answer["error"]["message"]
        assert (await said(socket, op="ping"))["op"] == "pong"

    talk(venue, work)


def kinds(venue):
    """A validator of each message that AsyncAPI knows."""
    _, spec = venue.get("/asyncapi.json")
    schemas = {"components": {"schemas": spec["components"]["schemas"]}}
    return {
        name: jsonschema.Draft7Validator(message["payload"] | schemas)
        for name, message in spec["components"]["messages"].items()
    }


def test_asyncapi_is_what_its_standard_says(venue):
    standard = Path("build/asyncapi/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json")
    if not standard.exists():
        pytest.skip("make asyncapi fetches the standard, where npm is")
    schema = json.loads(standard.read_text())
    check = jsonschema.validators.validator_for(schema)(schema)
    _, spec = venue.get("/asyncapi.json")
    check.validate(spec)
    for part in ("action", "channel"):
        broken = json.loads(json.dumps(spec))
        del broken["operations"]["subscribe"][part]
        assert not check.is_valid(broken)


def test_asyncapi_has_whatever_a_websocket_carries_and_nothing_else(venue):
    known, seen = kinds(venue), set()
    asked = venue.get("/asyncapi.json")[1]["operations"].keys()

    def look(told, names):
        fits = [name for name in names if known[name].is_valid(told)]
        assert len(fits) == 1, (told, fits)
        seen.update(fits)

    asks = ("Login", "Subscribe", "Unsubscribe", "Command", "OnDisconnect", "Ping")
    answers = [name for name in known if name not in (*asks, "Rows")]

    async def work(socket):
        async def ask(**fields):
            fields |= {"id": "x"}
            look(fields, asks)
            await socket.send_json(fields)
            await hear(lambda told: told.get("id") == "x")

        async def hear(test):
            seen_now = await until(socket, test)
            for told in seen_now:
                look(told, answers)

        await ask(op="login", token=venue.session(7))
        for stream in ("book", "trades", "account", "status", "batches", "proofs"):
            await ask(op="subscribe", stream=stream)
        for account, side in ((8, "sell"), (7, "buy")):
            line = venue.line(account, **BTC, client_id=number(), side=side, price=78_600)
            await ask(op="command", command=line)
        await ask(op="on_disconnect", command=venue.line(7, kind="cancel_all", instrument=0))
        await ask(op="ping")
        await socket.send_json({"op": "none"})
        await hear(lambda told: told.get("op") == "error")
        while not {"BatchTold", "ProofTold"} <= seen:
            await hear(lambda told: told.get("stream") in ("batches", "proofs"))
        await ask(op="unsubscribe", stream="status")

    talk(venue, work, lambda hello: look(hello, answers))
    assert seen | {"Heartbeat"} == known.keys() - {"Rows"}  # one every five seconds, and like hello
    assert asked == {"login", "subscribe", "unsubscribe", "command", "on_disconnect", "ping", "rows", "tell"}


def test_a_frame_that_is_too_long_ends_its_connection_alone(venue):
    async def work(socket):
        await socket.send_str(" " * 10_000)
        while (frame := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        return frame.data

    assert talk(venue, work) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    assert venue.get("/v1/time")[0] == 200


def test_the_state_in_the_readable_form_is_served_alike(tmp_path):
    venue = LiveVenue(tmp_path / "venue", "--state", "golden", "--engine", "golden")
    try:
        assert venue.command(1, **BTC, client_id=1, side="buy", price=70_000)[1]["event"] == "ack"
        _, account = venue.get("/v1/account", venue.session(1))
        assert [o["client_id"] for o in account["orders"]] == [1] and account["margin"] > 0
    finally:
        venue.close()
    assert "Traceback" not in venue.errors()
    assert json.loads((tmp_path / "told").read_text().splitlines()[-1])["event"] == "anchored"

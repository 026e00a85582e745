import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from eth_account import Account
from hawse.chain import client as client_module
from hawse.chain import compile as contracts
from hawse.chain import gas
from hawse.chain.client import Claim, SettlementClient
from hawse.chain.devchain import DevChain, dev_keys, find_anvil
from hawse.chain.errors import (
    AnchorConflictError,
    ChainError,
    CompileError,
    ConnectionLostError,
    ContractsNotFoundError,
    DepositMismatchError,
    DevChainError,
    NotMinedError,
    RevertedError,
)
from hawse.commit import exits, withdrawals
from hawse.commit.exits import ExitLeaf
from hawse.commit.roots import assets_hash
from hawse.commit.withdrawals import Withdrawal
from hawse.state.slot import Deposit, RequestKind
from support import headers
from support.headers import GENESIS, RULES
from web3.exceptions import Web3RPCError

OPERATOR, *KEYS = dev_keys(6)
OWNERS = [bytes.fromhex(Account.from_key(key).address[2:]) for key in KEYS]
STRANGER = b"\x07" * 32  # has no ether


@pytest.fixture(scope="module", params=["embedded", "anvil"])
def chain(request):
    anvil = find_anvil() if request.param == "anvil" else None
    if request.param == "anvil" and anvil is None:
        pytest.skip("no anvil on the path or under build/anvil: make anvil installs it with npm")
    with DevChain([OPERATOR, *KEYS], anvil=anvil) as running:
        running.anvil = anvil is not None
        yield running


@pytest.fixture(scope="module")
def embedded():
    with DevChain([OPERATOR, *KEYS]) as running:
        yield running


def deploy(url):
    client = SettlementClient.deploy(url, OPERATOR, GENESIS, RULES)
    client.mint(OPERATOR, OWNERS, 1000)
    return client


def header(client, **changes):
    """A header that continues what ``client`` has anchored by this function, and owes nobody anything."""
    number, count = client.batch_count() + 1, client.deposit_count()
    values = {
        "number": number,
        "previous_state_root": client.state_root(),
        "state_root": number.to_bytes(32, "big"),
        "inputs_first": 100 * number - 99,
        "deposit_index": count,
        "deposit_accumulator": client.deposit_accumulator(count),
        "assets_hash": client.assets_hash(),
        "journal_first": (number - 1) * 10,
        "journal_last": (number - 1) * 10 + 9,
        "time": 1000 * client.chain_time(),
    }
    return headers.header(**values | changes)


def paying(first, *due):
    """Withdrawals from id ``first`` on of (owner, amount), and the fields of a header that pays them."""
    paid = [Withdrawal(first + i, owner, 0, amount) for i, (owner, amount) in enumerate(due)]
    return paid, headers.withdrawals(withdrawals.range_of(paid, first))


def claims(batch, paid):
    tree, among = withdrawals.tree(paid), withdrawals.range_of(paid, paid[0].id)
    return [Claim(batch, among, w, tree.proof(i)) for i, w in enumerate(paid)]


def rpc(url, method, *params):
    return post(url, json.dumps({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}).encode())


def post(url, body):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_from_deposit_to_claim(chain):
    client = deploy(chain.url)
    assert (client.batch_count(), client.state_root(), client.deposits_since(0)) == (0, GENESIS, [])

    progress = []
    wanted = [(KEYS[0], 500), (KEYS[1], 7), (KEYS[0], 1), (KEYS[2], 1000)]
    made = client.deposit_all(wanted, lambda done, of: progress.append((done, of)))
    assert made == [Deposit(i, OWNERS[KEYS.index(k)], amount) for i, (k, amount) in enumerate(wanted, 1)]
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (client.collateral_locked(), client.token_balance(OWNERS[0])) == (1508, 499)

    # Another client, that has seen nothing, reads the same.
    other = SettlementClient(chain.url, client.address, OPERATOR)
    assert other.deposits_since(0) == made
    assert other.deposits_since(2) == made[2:]
    assert other.deposits_since(4) == []

    paid, fields = paying(1, (OWNERS[3], 300), (OWNERS[4], 8), (OWNERS[0], 200))
    first = header(client, exit_positive=1000, **fields)
    anchored = client.anchor(first)
    assert anchored.gas_used > 21_000
    assert client.batch_count() == 1
    batch = other.anchored(1)
    assert batch.digest == client.digest(first)
    assert batch.withdrawals == first.withdrawals.hash()

    # The same header again is the same transaction; another one under its number is an error.
    assert client.anchor(first) == anchored == other.anchor(first)
    with pytest.raises(AnchorConflictError):
        client.anchor(replace(first, dust=1))
    client.anchor(header(client, withdrawals_first=4))
    assert other.anchor(first) == anchored

    late, fields = paying(4, (OWNERS[3], 1), (OWNERS[3], 2), (OWNERS[4], 3))
    client.anchor(header(client, exit_positive=990, **fields))
    due = claims(3, late)
    progress.clear()
    sent = client.claim_all([(KEYS[n % 2], c) for n, c in enumerate(due)], lambda *p: progress.append(p))
    assert len({t.hash for t in sent}) == 3
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert client.token_balance(OWNERS[4]) == 1003
    with pytest.raises(RevertedError) as twice:
        client.claim_all([(KEYS[1], due[2])])
    assert twice.value.reason == "claim: already paid"

    for claim, withdrawal in zip(claims(1, paid), paid, strict=True):
        with pytest.raises(RevertedError) as wrong:
            client.claim(KEYS[1], replace(claim, withdrawal=replace(withdrawal, amount=9)))
        assert wrong.value.reason == "claim: proof"
        before = client.token_balance(withdrawal.owner)
        client.claim(KEYS[1], claim)
        assert client.claimed(withdrawal.id)
        assert client.token_balance(withdrawal.owner) == before + withdrawal.amount
        with pytest.raises(RevertedError) as again:
            client.claim(KEYS[1], claim)
        assert again.value.reason == "claim: already paid"
    assert client.collateral_locked() == 994
    assert client.deposit(KEYS[1], 5) == Deposit(5, OWNERS[1], 5)
    assert client.deposits_since(4) == [Deposit(5, OWNERS[1], 5)]


def test_what_exits_would_be_paid(chain):
    client = deploy(chain.url)
    client.deposit(KEYS[0], 500)
    leaves = [ExitLeaf(i, bytes([i]) * 20, i, 0, equity) for i, equity in enumerate((0, 300, -100, 200))]
    tree = exits.tree(leaves)
    positive, shortfall = tree.root.sums
    amounts = {"accounts": 4, "exit_positive": positive, "exit_shortfall": shortfall, "insurance": 50}
    sent = header(client, exit_root=tree.root.hash, **amounts)
    client.anchor(sent)
    assert client.exit_factor(sent) == (450, 500)
    paid = [client.exit_payout(sent, leaf, tree.proof(leaf.index)) for leaf in leaves]
    assert paid == [0, 270, 0, 180] == [sent.haircut.payout(leaf.equity) for leaf in leaves]


def test_assets_hash_names_chain_and_token(chain):
    client = deploy(chain.url)
    assert client.assets_hash() == assets_hash([(client.chain_id, client.token)])


def test_refusals_carry_the_contracts_reason(chain):
    client = deploy(chain.url)
    with pytest.raises(RevertedError) as refused:
        client.deposit(KEYS[0], 1001)
    assert refused.value.reason == "erc20: transfer amount exceeds balance"
    # Behind the first of a bulk there is no estimate: the transaction is in a block, and reverted.
    with pytest.raises(RevertedError) as refused:
        client.deposit_all([(KEYS[0], 10), (KEYS[1], 1001), (KEYS[2], 20)])
    assert refused.value.reason == "erc20: transfer amount exceeds balance"
    assert [d.owner for d in client.deposits_since(0)] == [OWNERS[0], OWNERS[2]]
    with pytest.raises(RevertedError) as refused:
        client.anchor(header(client, exit_positive=31))
    assert refused.value.reason == "anchor: insolvent"
    with pytest.raises(RevertedError) as refused:
        client.anchor(header(client, number=5))
    assert refused.value.reason == "anchor: number"
    with pytest.raises(RevertedError) as refused:
        SettlementClient(chain.url, client.address, KEYS[0]).anchor(header(client))
    assert refused.value.reason == "anchor: not the operator"
    with pytest.raises(RevertedError) as refused:
        client.mint(KEYS[0], OWNERS, 1)
    assert refused.value.reason == "mint_each: not a minter"
    assert client.batch_count() == 0


def test_deposits_wait_for_their_confirmations(chain):
    client = deploy(chain.url)
    careful = SettlementClient(chain.url, client.address, confirmations=2)
    made = client.deposit_all([(KEYS[0], 1), (KEYS[1], 2), (KEYS[2], 3)])
    assert careful.deposits_since(0) == made[:1]
    made.append(client.deposit(KEYS[3], 4))
    assert careful.deposits_since(1) == made[1:2]


def test_deposits_are_read_in_ranges(chain, monkeypatch):
    client = deploy(chain.url)
    made = client.deposit_all([(KEYS[i % 5], 1 + i) for i in range(9)])
    monkeypatch.setattr(client_module, "LOG_RANGE", 2)
    assert SettlementClient(chain.url, client.address).deposits_since(0) == made
    assert client.deposits_since(5) == made[5:]


def test_deposits_undone_by_a_reorganisation_are_noticed(chain):
    client = deploy(chain.url)
    client.deposit(KEYS[0], 5)
    snapshot = rpc(chain.url, "evm_snapshot")["result"]
    client.deposit(KEYS[1], 6)
    assert len(client.deposits_since(0)) == 2
    rpc(chain.url, "evm_revert", snapshot)
    with pytest.raises(DepositMismatchError, match="has 1 deposits, not the 2"):
        client.deposits_since(2)
    assert client.deposit(KEYS[2], 7).index == 2
    assert [d.amount for d in SettlementClient(chain.url, client.address).deposits_since(0)] == [5, 7]


def test_a_deposit_or_request_that_was_replaced_is_noticed_though_the_count_fits(chain):
    client = deploy(chain.url)
    client.deposit(KEYS[0], 5)
    client.request(KEYS[0], RequestKind.EXIT, 1, 1 << 24)
    snapshot = rpc(chain.url, "evm_snapshot")["result"]
    client.deposit(KEYS[1], 6)
    client.request(KEYS[1], RequestKind.EXIT, 2, 2 << 24)
    seen = client.deposit_accumulator(2), request_accumulator_of(client, 2)
    assert client.deposits_since(2, seen[0]) == client.requests_since(2, seen[1]) == []
    rpc(chain.url, "evm_revert", snapshot)
    with pytest.raises(DepositMismatchError, match="has 1 requests, not the 2"):
        client.requests_since(2, seen[1])
    client.deposit(KEYS[2], 6)
    client.request(KEYS[2], RequestKind.EXIT, 2, 2 << 24)
    with pytest.raises(DepositMismatchError, match="deposit 2 is another than the one that was seen"):
        client.deposits_since(2, seen[0])
    with pytest.raises(DepositMismatchError, match="request 2 is another than the one that was seen"):
        client.requests_since(2, seen[1])
    # Of what was not seen, there is what there is now.
    assert [r.owner for r in SettlementClient(chain.url, client.address).requests_since(0)] == [
        OWNERS[0],
        OWNERS[2],
    ]


def request_accumulator_of(client, number):
    return bytes(client._contract.functions.request_accumulators(number).call())


def test_requests_are_read_on_from_where_they_were(chain, monkeypatch):
    client = deploy(chain.url)
    agent = OWNERS[3]
    made = [
        client.request(KEYS[0], RequestKind.WITHDRAW, 1, 1 << 24, amount=77),
        client.request(KEYS[0], RequestKind.APPOINT, 1, 1 << 24, agent=agent, expiry=10**12),
    ]
    assert client.requests_since(0) == made
    assert [(r.index, r.kind, r.amount, r.agent) for r in made] == [
        (1, RequestKind.WITHDRAW, 77, bytes(20)),
        (2, RequestKind.APPOINT, 0, agent),
    ]
    asked, get_logs = [], client._web3.eth.get_logs

    def stingy(terms):
        """A node that gives two blocks at a time."""
        asked.append((terms["fromBlock"], terms["toBlock"]))
        if terms["toBlock"] - terms["fromBlock"] > 1:
            raise Web3RPCError("query returned more than 10000 results")
        return get_logs(terms)

    monkeypatch.setattr(client._web3.eth, "get_logs", stingy)
    for key in KEYS[1:4]:
        made.append(client.request(key, RequestKind.CANCEL_ALL, 1, 1 << 24))
    assert client.requests_since(2) == made[2:]
    assert asked[0][0] > client._first_block  # not from the beginning
    assert client.requests_since(0) == made and len(asked) > 4
    with pytest.raises(RevertedError, match="request: kind"):
        client.request(KEYS[0], 9, 1, 1)


def test_bad_arguments(embedded):
    client = deploy(embedded.url)
    with pytest.raises(ChainError, match="not an http"):
        SettlementClient("ftp://somewhere", client.address)
    with pytest.raises(ChainError, match="no contract at"):
        SettlementClient(embedded.url, OWNERS[0])
    with pytest.raises(ChainError, match="20 bytes"):
        SettlementClient(embedded.url, b"\x01" * 19)
    with pytest.raises(ChainError, match="operator's key"):
        SettlementClient(embedded.url, client.address).anchor(header(client))
    with pytest.raises(ChainError, match="no batch 1"):
        client.anchored(1)
    with pytest.raises(ChainError):
        client.claim(STRANGER, claims(1, [Withdrawal(1, OWNERS[0], 0, 1)])[0])
    assert client.deposit_all([]) == []


def test_a_stuck_anchor_is_replaced_with_higher_fees(chain):
    if not chain.anvil:
        pytest.skip("the embedded chain makes a block of every transaction at once")
    client = deploy(chain.url)
    hasty = SettlementClient(chain.url, client.address, OPERATOR, timeout=0.5)
    sent = header(client)
    rpc(chain.url, "evm_setAutomine", False)
    try:
        for _ in range(3):
            with pytest.raises(NotMinedError):
                hasty.anchor(sent)
        pending = rpc(chain.url, "txpool_content")["result"]
        (waiting,) = (account for pool in pending.values() for account in pool.values())
        assert len(waiting) == 1
        rpc(chain.url, "evm_mine")
    finally:
        rpc(chain.url, "evm_setAutomine", True)
    assert hasty.anchor(sent) == client.anchor(sent)
    assert client.batch_count() == 1


# Bad nodes


class Proxy:
    """Passes requests on to a node. ``before(request)`` and ``after(request, answer)`` may meddle; an answer
    of None is a connection that breaks before it."""

    def __init__(self, target):
        self.before = lambda request: None
        self.after = lambda request, answer: answer
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = json.loads(body)
                proxy.before(request)
                answer = proxy.after(request, post(target, body))
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def proxy(embedded):
    made = Proxy(embedded.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


def lose_once(method):
    """The first answer to ``method`` is lost on its way."""
    lost = []

    def after(request, answer):
        if request["method"] == method and not lost:
            lost.append(request)
            return None
        return answer

    return after, lost


@pytest.mark.parametrize(
    "method", ["eth_sendRawTransaction", "eth_getTransactionReceipt", "eth_call", "eth_estimateGas"]
)
def test_a_lost_answer_does_not_anchor_or_deposit_twice(embedded, proxy, method):
    direct = deploy(embedded.url)
    client = SettlementClient(proxy.url, direct.address, OPERATOR)
    proxy.after, lost = lose_once(method)
    sent = header(direct)
    assert client.anchor(sent) == direct.anchor(sent)
    assert lost and direct.batch_count() == 1
    proxy.after, lost = lose_once(method)
    client.deposit(KEYS[0], 5)
    assert lost and direct.collateral_locked() == 5


def test_an_anchor_whose_answers_never_came_is_found(embedded, proxy):
    direct = deploy(embedded.url)
    client = SettlementClient(proxy.url, direct.address, OPERATOR, retries=2)
    sent = header(direct)
    sends = []

    def after(request, answer):
        sends.extend([request] if request["method"] == "eth_sendRawTransaction" else [])
        return None if sends else answer

    # Every answer from the transaction's on is lost, and then the node is back.
    proxy.after = after
    with pytest.raises(ConnectionLostError):
        client.anchor(sent)
    proxy.after = lambda request, answer: answer
    assert direct.batch_count() == 1
    assert client.anchor(sent) == direct.anchor(sent)
    assert direct.batch_count() == 1


def test_node_that_is_away(embedded):
    address = deploy(embedded.url).address
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionLostError):
            SettlementClient(f"http://127.0.0.1:{unused.getsockname()[1]}", address, retries=1, timeout=1)


def test_node_that_hides_or_alters_deposits(embedded, proxy):
    direct = deploy(embedded.url)
    made = direct.deposit_all([(KEYS[i], 10 + i) for i in range(4)])

    def meddling(change):
        def after(request, answer):
            if request["method"] == "eth_getLogs":
                answer["result"] = change(answer["result"])
            return answer

        proxy.after = after
        return SettlementClient(proxy.url, direct.address)

    def altered(logs):
        data = logs[1]["data"]
        return [logs[0], {**logs[1], "data": data[:65] + "f" + data[66:]}, *logs[2:]]

    assert meddling(lambda logs: logs).deposits_since(0) == made
    for change in (
        lambda logs: [],
        lambda logs: logs[1:],
        lambda logs: logs[:-1],
        lambda logs: logs[:1] + logs[2:],
        lambda logs: [logs[1], logs[0], *logs[2:]],
        lambda logs: [*logs, logs[-1]],
        altered,
    ):
        with pytest.raises(DepositMismatchError):
            meddling(change).deposits_since(0)


# Time


#: Some time in 2015, seconds.
START = 1_430_438_400


@pytest.fixture(scope="module", params=["embedded", "anvil"])
def old(request):
    anvil = find_anvil() if request.param == "anvil" else None
    if request.param == "anvil" and anvil is None:
        pytest.skip("no anvil on the path or under build/anvil: make anvil installs it with npm")
    with DevChain([OPERATOR, *KEYS], start=START, anvil=anvil) as running:
        yield running


def timestamp(url):
    return int(rpc(url, "eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)


def test_a_chain_begins_at_the_time_it_is_told(old):
    assert START <= timestamp(old.url) < START + 3600
    client = SettlementClient.deploy(old.url, OPERATOR, GENESIS, RULES, drift=60)
    assert START <= client.chain_time() < START + 3600
    client.anchor(header(client))


def test_an_anchor_after_the_clock_was_moved_to_its_time(old):
    client = SettlementClient.deploy(old.url, OPERATOR, GENESIS, RULES, drift=60)
    now = client.chain_time()
    late = header(client, time=1000 * (now + 86_400))
    with pytest.raises(RevertedError) as early:
        client.anchor(late)
    assert early.value.reason == "anchor: time ahead of the chain"
    client.move_clock(now + 86_400)
    assert client.chain_time() == now + 86_400
    client.anchor(late)
    assert 0 <= client.chain_time() - now - 86_400 < 60  # and the clock goes on from there
    there = client.chain_time()
    client.move_clock(now)  # never back
    assert client.chain_time() == there


def test_time_can_be_added_and_set(old):
    before = timestamp(old.url)
    rpc(old.url, "evm_increaseTime", 1000)
    rpc(old.url, "evm_mine")
    # Many blocks in a second put chain time ahead of the clock.
    assert 900 < timestamp(old.url) - before < 1060
    rpc(old.url, "evm_setNextBlockTimestamp", before + 5000)
    rpc(old.url, "evm_mine")
    assert timestamp(old.url) == before + 5000
    rpc(old.url, "evm_mine")
    assert before + 5000 <= timestamp(old.url) < before + 5060
    assert "error" in rpc(old.url, "evm_setNextBlockTimestamp", before)


def test_a_block_after_a_pause_has_the_time_of_the_clock(embedded):
    """Not that at which the block before it was made: an anchor would be refused as ahead of the chain."""
    client = SettlementClient.deploy(embedded.url, OPERATOR, GENESIS, RULES, drift=60)
    rpc(embedded.url, "evm_increaseTime", 1000)
    client.anchor(header(client, time=1000 * (client.chain_time() + 1000)))


def test_a_node_without_a_clock_to_move(embedded, proxy):
    client = SettlementClient(proxy.url, deploy(embedded.url).address)
    proxy.after = lambda request, answer: (
        {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no such method"}}
        if request["method"].startswith("evm_")
        else answer
    )
    with pytest.raises(ChainError, match=r"evm_setNextBlockTimestamp: .*no such method"):
        client.move_clock(client.chain_time() + 10)


# The embedded chain


def test_embedded_chain_answers_errors(embedded):
    assert rpc(embedded.url, "eth_fly")["error"]["code"] == -32601
    assert post(embedded.url, b"{not json")["error"]["code"] == -32700
    assert post(embedded.url, b'"text"')["error"]["code"] == -32600
    assert rpc(embedded.url, "eth_sendRawTransaction", "0x00")["error"]["code"] == -32000
    answers = post(embedded.url, b'[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_blockNumber"}]')
    assert [a["id"] for a in answers] == [1, 2] and all(a["result"].startswith("0x") for a in answers)
    assert rpc(embedded.url, "eth_getTransactionReceipt", "0x" + "11" * 32)["result"] is None


def test_calls_cost_nothing(embedded):
    client = deploy(embedded.url)
    data = "0x" + client._contract.functions.deposit_count()._encode_transaction_data()[2:]
    poor = Account.from_key(STRANGER).address
    call = {"from": poor, "to": client._contract.address, "data": data}
    assert int(rpc(embedded.url, "eth_call", call, "pending")["result"], 16) == 0


def alive(url):
    try:
        return "result" in rpc(url, "eth_chainId")
    except OSError:
        return False


@pytest.mark.parametrize("keep", [True, False])
def test_only_a_kept_chain_outlives_a_killed_host(keep):
    program = (
        "import os, signal\n"
        "from hawse.chain.devchain import DevChain\n"
        f"chain = DevChain(keep={keep}).start()\n"
        "print(chain.url, chain.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    url, pid = done.stdout.split()
    if keep:
        assert alive(url)
        os.kill(int(pid), signal.SIGTERM)
    end = time.monotonic() + 20
    while alive(url) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(url)


def test_chain_that_does_not_start(tmp_path):
    with pytest.raises(DevChainError, match="did not start"):
        DevChain(anvil=sys.executable).start()  # does not know anvil's options
    with pytest.raises(DevChainError, match="No such file"):
        DevChain(anvil=tmp_path / "anvil").start()
    (tmp_path / "funded").write_text("0x1234")
    command = [sys.executable, "-m", "hawse.chain.devchain", "--funded", str(tmp_path / "funded")]
    refused = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "is not an address" in refused.stderr


# Compiling


def test_contracts_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv(contracts.SOURCES, str(tmp_path))
    with pytest.raises(ContractsNotFoundError, match=r"no Settlement\.vy"):
        contracts.folder()


def test_contract_is_compiled_once_and_errors_are_typed(tmp_path, monkeypatch):
    sources = tmp_path / "contracts"
    sources.mkdir()
    (sources / "Settlement.vy").write_text("# pragma version 0.4.3\nanswer: public(uint256)\n")
    monkeypatch.setenv(contracts.SOURCES, str(sources))
    first = contracts.compile_file(sources / "Settlement.vy")
    assert [entry["name"] for entry in first.abi] == ["answer"]
    monkeypatch.setattr(contracts, "_compile", lambda source: pytest.fail("compiled again"))
    assert contracts.compile_file(sources / "Settlement.vy") == first
    monkeypatch.undo()
    monkeypatch.setenv(contracts.SOURCES, str(sources))
    (sources / "Settlement.vy").write_text("answer: public(nonsense)\n")
    with pytest.raises(CompileError, match=r"Settlement\.vy"):
        contracts.compile_file(sources / "Settlement.vy")
    with pytest.raises(CompileError, match="No such file"):
        contracts.compile_file(sources / "Missing.vy")


# Gas


@pytest.mark.slow
def test_gas_stays_what_the_docs_say():
    spent = dict(gas.rows())
    text = (contracts.folder().parent / "docs" / "commitments.md").read_text()
    table = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", text, re.MULTILINE))
    for what, used in spent.items():
        said = table.get(what)
        if said:
            assert used == pytest.approx(int(said.replace(",", "")), rel=0.001), what
    assert len(spent.keys() & table.keys()) >= 8

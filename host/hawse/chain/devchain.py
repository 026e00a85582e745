"""A chain to develop on: an EVM in memory behind JSON-RPC, in a process of its own.

``python -m hawse.chain.devchain`` prints its URL as its first line. Every transaction makes a block at
once, one second of chain time apart at least, so that chain time may run ahead of the clock. The clock begins
where it is told to, and ``evm_setNextBlockTimestamp`` and ``evm_increaseTime`` move it on.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import click
from eth.abc import ComputationAPI
from eth.exceptions import Revert, VMError
from eth.exceptions import TransactionNotFound as NoTransaction
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import decode
from eth_account import Account
from eth_tester import EthereumTester
from eth_tester.backends.pyevm.main import PyEVMBackend, _get_vm_for_block_number
from eth_tester.backends.pyevm.serializers import serialize_transaction_receipt
from eth_tester.exceptions import TransactionNotFound
from eth_utils.exceptions import ValidationError
from tiny_keccak import keccak256
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint

from hawse.chain.errors import DevChainError

#: Of every funded account, in wei.
BALANCE = 10**24
#: What looks at the clock; a block is made by all but the first two.
_ON_THE_CLOCK = ("eth_call", "eth_estimateGas", "eth_sendRawTransaction", "evm_mine")
ERROR_STRING = bytes.fromhex("08c379a0")  # selector of Error(string)
ZERO_ADDRESS = "0x" + "00" * 20


def dev_keys(count: int) -> list[bytes]:
    """The first ``count`` private keys of the development accounts, 32 bytes each; no secret."""
    return [bytes(keccak256(b"hawse development key" + i.to_bytes(4, "big"))) for i in range(count)]


class _Reverted(Exception):
    """What a contract says when it reverts, in the bytes that it says it in."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data

    def reason(self) -> str:
        return decode(["string"], self.data[4:])[0] if self.data[:4] == ERROR_STRING else ""


class _Backend(PyEVMBackend):  # type: ignore[misc]
    """The EVM of eth-tester, with calls as other nodes have them.

    It finds a transaction by the database's index where the one inherited scans blocks from the head, calls
    are free of charge and run in the block to come, and the data of a revert is kept.
    """

    @property
    def newest(self) -> int:
        """Time of the newest block, seconds since 1970."""
        return int(self.chain.get_canonical_head().timestamp)

    def set_time(self, seconds: int) -> None:
        """Give the block to come its time, or the first that it may have if that is later."""
        self.chain.set_header_timestamp(max(seconds, self.newest + 1))

    def call(self, transaction: dict[str, Any], block_number: Any = "latest") -> bytes:
        return bytes(self._compute(transaction, block_number).output)

    def _compute(self, transaction: dict[str, Any], block_number: Any) -> ComputationAPI:
        place = "pending" if block_number == "latest" else block_number
        vm = _get_vm_for_block_number(self.chain, place)
        fields = {"gas": vm.get_header().gas_limit, **transaction}
        unsigned = self._get_normalized_and_unsigned_evm_transaction(fields, block_number)
        vm.state.set_balance(transaction["from"], 1 << 128)  # of a state that nobody keeps
        computation: ComputationAPI = vm.state.apply_transaction(
            SpoofTransaction(unsigned, from_=transaction["from"])
        )
        if isinstance(computation.is_error and computation.error, Revert):
            raise _Reverted(computation.output)
        computation.raise_if_error()
        return computation

    def estimate_gas(self, transaction: dict[str, Any], block_number: Any = "latest") -> int:
        """Gas used before refunds, with a margin for what calls hold back, where that is enough.

        The binary search inherited runs a transaction twenty times.
        """
        limit = self._max_available_gas()
        used = limit - self._compute(transaction | {"gas": limit}, block_number).get_gas_remaining()
        try:
            self._compute(transaction | {"gas": used * 16 // 15}, block_number)
        except (VMError, ValidationError, _Reverted):
            return int(super().estimate_gas(transaction, block_number))
        return int(used * 16 // 15)

    def get_transaction_receipt(self, transaction_hash: bytes) -> Any:
        try:
            number, index = self.chain.get_canonical_transaction_index(transaction_hash)
        except NoTransaction as error:
            raise TransactionNotFound(transaction_hash.hex()) from error
        block = self.chain.get_canonical_block_by_number(number)
        receipts = block.get_receipts(self.chain.chaindb)
        transaction = block.transactions[index]
        return serialize_transaction_receipt(block, receipts, transaction, index, False, self.chain.get_vm())


class Node:
    """The chain behind its JSON-RPC methods. Not safe for threads: callers take turns."""

    def __init__(self, funded: Sequence[str] = (), start: int | None = None) -> None:
        """Begin a chain.

        Args:
            funded: addresses (0x and 40 hex digits) to which the genesis gives a balance.
            start: time of the genesis, seconds since 1970, from which its clock goes on; now if None.
        """
        now = int(time.time())
        self._ahead = 0 if start is None else start - now  # of the clock, in seconds
        self._next: int | None = None  # time of the next block, where it was told
        account = {"balance": BALANCE, "nonce": 0, "code": b"", "storage": {}}
        backend = _Backend(
            PyEVMBackend.generate_genesis_params({"timestamp": now + self._ahead}),
            {bytes.fromhex(address[2:]): account for address in funded} or None,
        )
        backend.account_keys = ()  # it signs for nobody
        self._backend = backend
        provider = EthereumTesterProvider(EthereumTester(backend))
        web3 = Web3(provider, middleware=[])
        self._request = provider.request_func(web3, web3.middleware_onion)
        self._logs: list[list[dict[str, Any]]] = []  # of each block

    def answer(self, request: Any) -> dict[str, Any]:
        """Answer one JSON-RPC request; errors are answers too."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, -32600, "not a JSON-RPC request")
        method, params = request["method"], request.get("params") or []
        try:
            result = self._dispatch(method, params)
        except _Reverted as reverted:
            reason = reverted.reason()
            message = f"execution reverted: {reason}" if reason else "execution reverted"
            return _error(request.get("id"), 3, message, "0x" + reverted.data.hex())
        except NotImplementedError as error:
            return _error(request.get("id"), -32601, str(error))
        except Exception as error:  # whatever the EVM or its validation says goes to the caller
            return _error(request.get("id"), -32000, f"{type(error).__name__}: {error}")
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": _to_json(result)}

    def _dispatch(self, method: str, params: list[Any]) -> Any:
        # Blocks are made at once, so nothing is ever pending.
        params = ["latest" if p == "pending" else p for p in params]
        if method == "eth_getLogs":
            return self._get_logs(params[0])
        if method in ("eth_call", "eth_estimateGas"):
            call = {"from": ZERO_ADDRESS, **params[0]}
            params[0] = call | {"data": call.pop("input", call.get("data", "0x"))}
        if method == "evm_setNextBlockTimestamp":
            return self._set_next_time(_integer(params[0]))
        if method == "evm_increaseTime":
            self._ahead += _integer(params[0])
            return self._ahead
        if method == "evm_revert":
            self._logs.clear()
        if method not in _ON_THE_CLOCK:
            return self._call(method, params)
        self._backend.set_time(int(time.time()) + self._ahead if self._next is None else self._next)
        answer = self._call(method, params)
        if method not in _ON_THE_CLOCK[:2]:
            self._next = None
        return answer

    def _set_next_time(self, seconds: int) -> None:
        if seconds <= self._backend.newest:
            raise ValueError(f"timestamp: {seconds} is not behind {self._backend.newest}, the newest block's")
        self._next, self._ahead = seconds, seconds - int(time.time())

    def _call(self, method: str, params: list[Any]) -> Any:
        response = self._request(RPCEndpoint(method), params)
        if "error" in response:
            raise NotImplementedError(f"{method} is not implemented")
        return response["result"]

    def _get_logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        head = int(self._call("eth_blockNumber", []))
        for number in range(len(self._logs), head + 1):
            logs: list[dict[str, Any]] = []
            for transaction in self._call("eth_getBlockByNumber", [hex(number), False])["transactions"]:
                logs += self._call("eth_getTransactionReceipt", [_to_json(transaction)])["logs"]
            self._logs.append([_to_json(log) for log in logs])
        first, last = (_block(query.get(end, "latest"), head) for end in ("fromBlock", "toBlock"))
        addresses = query.get("address") or []
        addresses = {a.lower() for a in ([addresses] if isinstance(addresses, str) else addresses)}
        topics = query.get("topics") or []
        return [
            log
            for logs in self._logs[first : last + 1]
            for log in logs
            if (not addresses or log["address"].lower() in addresses) and _topics_match(topics, log["topics"])
        ]


def _block(name: str, head: int) -> int:
    return {"earliest": 0}.get(name, head) if name.isalpha() else int(name, 16)


def _integer(value: Any) -> int:
    return int(value, 0) if isinstance(value, str) else int(value)


def _topics_match(wanted: list[Any], topics: list[str]) -> bool:
    if len(wanted) > len(topics):
        return False
    return all(
        want is None or topic in ([want] if isinstance(want, str) else want)
        for want, topic in zip(wanted, topics, strict=False)
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return [_to_json(v) for v in value]
    return {k: _to_json(v) for k, v in value.items()}


def _error(request_id: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error = {"code": code, "message": message} | ({"data": data} if data is not None else {})
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def _server(node: Node, host: str, port: int) -> ThreadingHTTPServer:
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections open

        def setup(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                request = json.loads(body)
            except ValueError:
                answer: Any = _error(None, -32700, "not JSON")
            else:
                with turn:
                    answer = (
                        [node.answer(r) for r in request]
                        if isinstance(request, list)
                        else node.answer(request)
                    )
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self._headers_buffer.append(b"\r\n" + data)  # type: ignore[attr-defined]  # one segment, not two
            self.flush_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a caller that went away; there is nobody to tell

    return Server((host, port), Handler)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 takes any free one.")
@click.option(
    "--funded",
    type=click.File(),
    help="File of addresses, one a line, that the genesis funds; ten development accounts if none.",
)
@click.option("--start", type=int, help="Time of the genesis, seconds since 1970; now if not given.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends.")
def main(host: str, port: int, funded: IO[str] | None, start: int | None, until_eof: bool) -> None:
    """Serve an EVM chain in memory over JSON-RPC. The first line printed is its URL."""
    if funded is None:
        addresses = [Account.from_key(key).address for key in dev_keys(10)]
    else:
        addresses = funded.read().split()
        for address in addresses:
            if not re.fullmatch("0x[0-9a-fA-F]{40}", address):
                raise click.BadParameter(f"{address!r} is not an address", param_hint="--funded")
    server = _server(Node(addresses, start), host, port)
    print(f"http://{host}:{server.server_port}", flush=True)

    def stop() -> None:
        sys.stdin.read()
        server.shutdown()

    if until_eof:
        threading.Thread(target=stop, daemon=True).start()
    server.serve_forever()


def find_anvil() -> Path | None:
    """An ``anvil`` of Foundry: on the path, or installed by npm in the checkout or under its ``build``."""
    found = shutil.which("anvil")
    if found:
        return Path(found)
    for root in Path(__file__).resolve().parents:
        for place in ("node_modules", "build/node_modules", "build/anvil/node_modules"):
            if (root / place / ".bin" / "anvil").exists():
                return root / place / ".bin" / "anvil"
    return None


class DevChain:
    """Starts a chain of its own process, and stops it at the end of the ``with``.

    Attributes:
        url: of its JSON-RPC.
        keys: private keys of the accounts that hold ether.
        pid: of the process, for whoever stops a chain that was kept.
    """

    def __init__(
        self,
        keys: Sequence[bytes] | None = None,
        *,
        start: int | None = None,
        anvil: Path | None = None,
        keep: bool = False,
    ) -> None:
        """Choose the chain.

        Args:
            keys: private keys to fund; ten development keys if none.
            start: time of the genesis, seconds since 1970, from which the chain's clock goes on; now if None.
            anvil: the program of Foundry to run in place of the embedded chain.
            keep: leave the chain running at the end, and when this process dies.
        """
        self.keys = list(keys) if keys is not None else dev_keys(10)
        self.url = ""
        self.pid = 0
        self._start = start
        self._anvil = anvil
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 30) -> "DevChain":
        """Start the process and wait for its URL.

        Raises:
            DevChainError: if it ends, or says no URL within ``timeout`` seconds.
        """
        addresses = [Account.from_key(key).address for key in self.keys]
        # Its output goes to a file without a name: a pipe would fill, and break with this process.
        with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as output:
            funded = Path(scratch) / "funded"
            funded.write_text("\n".join(addresses))
            began = [] if self._start is None else [str(self._start)]
            if self._anvil:
                command = [str(self._anvil), "--port", "0", "--accounts", "1"]
                command += ["--timestamp", *began] if began else []
            else:
                command = [sys.executable, "-m", "hawse.chain.devchain", "--funded", str(funded)]
                command += ["--start", *began] if began else []
                command += [] if self._keep else ["--until-eof"]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL if self._keep else subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # so that a signal to the host's group spares it
                )
            except OSError as error:
                raise DevChainError(f"{command[0]}: {error.strerror}") from error
            self.pid = self._process.pid
            self.url = self._wait_for_url(output, timeout)
        if self._anvil:
            provider = Web3.HTTPProvider(self.url)
            for address in addresses:
                provider.make_request(RPCEndpoint("anvil_setBalance"), [address, hex(BALANCE)])
        return self

    def _wait_for_url(self, output: IO[str], timeout: float) -> str:
        assert self._process is not None
        end = time.monotonic() + timeout
        while True:
            ended = self._process.poll() is not None
            said = os.pread(output.fileno(), 1 << 16, 0).decode(errors="replace")
            match = re.search(r"(?:http://|Listening on )([\d.]+:\d+)\s", said)
            if match:
                return f"http://{match[1]}"
            if ended or time.monotonic() > end:
                self.stop()
                raise DevChainError(f"the chain did not start: {said.strip()[-500:] or 'it said nothing'}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the chain, kept or not. Its state is gone."""
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)  # the group: npm's anvil is a script around the program
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()

    def __enter__(self) -> "DevChain":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._keep:
            self.stop()


if __name__ == "__main__":
    main()

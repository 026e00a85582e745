"""A venue with a gateway in a process of its own, as an operator runs it; and messages to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from hawse.chain.devchain import dev_keys
from hawse.keys import lines, structs
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign, sign_digest

KEYS = dev_keys(10)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class LiveVenue:
    """A directory and the host that runs in it; accounts 1 to 10 are those of the embedded chain."""

    def __init__(self, directory, *options):
        self.directory, self.options = directory, options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.nonce = time.time_ns() // 1_000_000
        self.start()

    def start(self, **more):
        told = (self.directory.parent / "told").open("ab")
        errors = (self.directory.parent / "errors").open("ab")
        command = [
            sys.executable,
            "-m",
            "hawse.cli",
            "run",
            str(self.directory),
            "--http",
            f"127.0.0.1:{self.port}",
        ]
        self.process = subprocess.Popen(
            [*command, *self.options], stdin=subprocess.DEVNULL, stdout=told, stderr=errors, **more
        )
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            try:
                if self.get("/v1/status")[1]["accounts"] >= 10:
                    break
            except OSError:
                pass
            time.sleep(0.05)
        else:
            raise AssertionError((self.directory.parent / "errors").read_text())
        self.about = self.get("/v1/venue")[1]
        self.domain = Domain(self.about["chain_id"], bytes.fromhex(self.about["contract"][2:]))

    def errors(self):
        return (self.directory.parent / "errors").read_text()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self):
        if self.process.poll() is None:
            self.stop()
        os.kill(json.loads((self.directory / "run.json").read_text())["pid"], signal.SIGTERM)

    # Requests

    def call(self, method, path, body=None, token=None, headers=()):
        """Status, JSON and headers of an answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(headers), method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read()), reply.headers
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()), error.headers

    def get(self, path, token=None):
        status, told, _ = self.call("GET", path, token=token)
        return status, told

    def line(self, account, key=None, **fields):
        """A signed command of an account; ``key``: of another."""
        self.nonce = max(self.nonce + 1, time.time_ns() // 1_000_000)
        mine = {
            "account": account,
            "generation": account << 24,
            "nonce": self.nonce,
            "expiry": self.nonce + 30_000,
        }
        rows = lines.parse(json.dumps(mine | fields))
        sign(rows, self.domain, [KEYS[account - 1] if key is None else key])
        return lines.unparse(rows)

    def command(self, account, key=None, **fields):
        status, told, _ = self.call("POST", "/v1/commands", self.line(account, key, **fields))
        return status, told

    def asks(self, who, key=None, **changed):
        """What opens a session; ``changed``: after it was signed."""
        now = changed.pop("now", time.time_ns() // 1_000_000)
        expiry = changed.pop("until", now + 600_000)
        gateway = bytes.fromhex(self.about["gateway"][2:])
        digest = self.domain.digest(structs.session(who, who << 24, now, expiry, gateway))
        signature = sign_digest(digest, KEYS[who - 1] if key is None else key)
        fields = {"account": who, "generation": who << 24, "time": now, "expiry": expiry}
        return fields | {"signature": "0x" + signature.hex()} | changed

    def session(self, account, key=None):
        status, told, _ = self.call("POST", "/v1/sessions", self.asks(account, key))
        assert status == 200, told
        return told["token"]

"""Validators that share no disk with the host: a real NATS server, which comes and goes, is between them."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import nats
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.journal import Journal, JournalOrder
from hawse.keys.store import KeyStore
from hawse.stream.jetstream import Follower, HostProcess
from hawse.stream.messages import Place, Tail

pytestmark = pytest.mark.skipif(
    shutil.which("nats-server") is None, reason="nats-server not found: it is in Debian's nats-server"
)
PASSWORD = "not a good one"
NAMES = ("one", "two")


def call(*arguments, code=0, **more):
    done = CliRunner().invoke(main, [str(a) for a in arguments], **more)
    assert (done.exit_code == 0) == (code == 0), done.output
    return done


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Cluster:
    """NATS servers with JetStream, each killed and started as a test likes."""

    def __init__(self, folder, count):
        self.folder, self.running = folder, {}
        ports = free_ports(2 * count)
        self.ports, self.routes = ports[:count], ports[count:]
        for index in range(count):
            self.start(index)
        self.url = (
            "nats://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/trial?replicas={count}"
        )

    def start(self, index):
        options = ["-a", "127.0.0.1", "-p", self.ports[index], "-js", "-sd", self.folder / f"nats-{index}"]
        if len(self.ports) > 1:
            routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.routes)
            options += ["-n", f"n{index}", "--cluster_name", "c", "--routes", routes]
            options += ["--cluster", f"nats://127.0.0.1:{self.routes[index]}"]
        log = (self.folder / f"nats-{index}.log").open("ab")
        self.running[index] = subprocess.Popen(["nats-server", *map(str, options)], stdout=log, stderr=log)

    def kill(self, index):
        process = self.running.pop(index)
        process.kill()
        process.wait()

    def close(self):
        for index in [*self.running]:
            self.kill(index)


class Trial:
    """A venue of whose two validators both have to sign, each with a directory of his own."""

    def __init__(self, folder, servers):
        self.folder, self.directory = folder, folder / "venue"
        self.cluster = Cluster(folder, servers)
        self.keys = "--keys", folder / "keys", "--password", PASSWORD
        for name in NAMES:
            call("keys", "new", name, *self.keys)
        call("keys", "import", "alice", "--embedded", 1, *self.keys)
        people = [KeyStore(folder / "keys").show(name).address for name in NAMES]
        committee = [option for address in people for option in ("--validator", address)]
        self.running = {}
        self.orders = 0
        self.run(*committee, "--threshold", "2")

    def process(self, *arguments, **more):
        command = [sys.executable, "-m", "hawse.cli", *map(str, arguments)]
        return subprocess.Popen(command, **more)

    def run(self, *options):
        options = "--stream", self.cluster.url, "--batch-seconds", "1", *options
        told = (self.folder / "told").open("ab")
        log = (self.folder / "host.log").open("ab")
        self.host = self.process(
            "run", self.directory, *options, stdin=subprocess.PIPE, stdout=told, stderr=log
        )

    def validate(self, name, *options):
        log = (self.folder / f"{name}.log").open("ab")
        where = self.folder / name, name, "--stream", self.cluster.url
        self.running[name] = self.process("validator", *where, *self.keys, *options, stderr=log)

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def rows(self):
        return [json.loads(line) for line in (self.folder / "told").read_text().splitlines()]

    def anchored(self):
        return [row["batch"] for row in self.rows() if row["event"] == "anchored"]

    def until(self, met, seconds=60):
        end = time.monotonic() + seconds
        while not met():
            logs = {path.name: path.read_text()[-600:] for path in self.folder.glob("*.log")}
            assert time.monotonic() < end and self.host.poll() is None, (self.rows()[-3:], logs)
            time.sleep(0.1)

    def order(self):
        self.orders += 1
        number = self.orders
        fields = {"kind": "order", "client_id": number, "side": "buy", "price": 70_000, "quantity": 10_000}
        signed = call(
            "keys", "sign", "alice", "--venue", self.directory, *self.keys, input=json.dumps(fields)
        )
        self.host.stdin.write(signed.stdout.encode())
        self.host.stdin.flush()
        self.until(lambda: any(row.get("client_id") == number for row in self.rows()))

    def more_batches(self, count=1):
        """Orders until so many more batches are anchored."""
        wanted = len(self.anchored()) + count
        while len(self.anchored()) < wanted:
            before = len(self.anchored())
            self.order()
            self.until(lambda seen=before: len(self.anchored()) > seen)

    def progress(self):
        return json.loads(call("validators", self.directory, "--json").stdout)["validators"]

    def records(self, directory):
        with Journal(directory / "journal", readonly=True, verify=True) as journal:
            return [record[1:] for record in journal.records()]

    def check_copies(self):
        """Every validator comes to have all of the journal: nothing lost, nothing doubled."""
        self.host.send_signal(signal.SIGTERM)
        self.host.wait(60)
        ours = self.records(self.directory)
        end = time.monotonic() + 30
        for name in NAMES:
            while self.records(self.folder / name) != ours:
                assert time.monotonic() < end, (len(self.records(self.folder / name)), len(ours))
                time.sleep(0.2)

    def close(self):
        for process in (self.host, *self.running.values()):
            process.kill()
            process.wait()
        self.cluster.close()
        run = self.directory / "run.json"
        if run.exists():
            os.kill(json.loads(run.read_text())["pid"], signal.SIGTERM)


@pytest.fixture
def trial(request, tmp_path):
    trial = Trial(tmp_path, request.param)
    yield trial
    trial.close()


@pytest.mark.ci
@pytest.mark.parametrize("trial", [1], indirect=True)
def test_batches_are_signed_over_a_stream_whatever_dies(trial):
    for name in NAMES:
        trial.validate(name)
    trial.until(lambda: trial.anchored() == [1])
    trial.more_batches()
    trial.until(lambda: [one["lag"] for one in trial.progress()] == [0, 0])
    assert {one["batch"] for one in trial.progress()} == {trial.anchored()[-1]}
    # Without NATS trading goes on, and what was missed is caught up from the journal.
    trial.cluster.kill(0)
    count = len(trial.anchored())
    for _ in range(3):
        trial.order()
        time.sleep(1.1)
    assert len(trial.anchored()) == count
    trial.cluster.start(0)
    trial.until(lambda: len(trial.anchored()) >= count + 2)
    # A validator that is gone lags, is seen to, and goes on where his copy ends.
    trial.kill("two")
    count = len(trial.anchored())
    trial.order()
    trial.until(lambda: sorted(one["lag"] > 0 for one in trial.progress()) == [False, True])
    trial.host.kill()
    trial.host.wait()
    trial.run()
    trial.validate("two")
    trial.until(lambda: len(trial.anchored()) > count)
    trial.more_batches(2)
    trial.check_copies()
    assert call("verify", trial.directory, "--json")


@pytest.mark.slow
@pytest.mark.parametrize("trial", [3], indirect=True)
def test_a_cluster_loses_a_node_in_mid_flow_and_nothing_is_lost_or_doubled(trial):
    for name in NAMES:
        trial.validate(name)
    trial.until(lambda: trial.anchored() == [1])
    for index in range(3):
        trial.cluster.kill(index)
        trial.more_batches(2)
        trial.cluster.start(index)
        trial.more_batches()
    trial.check_copies()
    assert trial.anchored() == [*range(1, len(trial.anchored()) + 1)]


@pytest.fixture
def server(tmp_path):
    server = Cluster(tmp_path, 1)
    yield server
    server.close()


async def put(url, message):
    client = await nats.connect(url)
    await client.jetstream().publish("trial.journal", message.encode())
    await client.close()


@pytest.mark.ci
def test_a_forged_record_on_the_stream_ends_a_validator_and_the_publishing(server, tmp_path, capfd):
    place, me = Place.parse(server.url), bytes(20)
    with Journal(tmp_path / "host", b"a configuration") as journal:
        for epoch in range(1, 200):
            journal.append_epoch(epoch)
        for _ in range(2):  # the second one has nothing to add
            HostProcess(journal.directory, server.url, tmp_path / "signed", []).close()
        messages = [*Tail(journal.directory).read()]
        follower = Follower(tmp_path / "copy", place, me)
        assert follower.caught_up.wait(20)
        follower.check()
        follower.close()
        with Journal(tmp_path / "copy", readonly=True) as copy:
            assert [one[1:] for one in copy.records()] == [one[1:] for one in journal.records()]
        forged = messages[-1]._replace(number=len(messages), link=b"\xee" * 32)
        asyncio.run(put(server.url.split("/trial")[0], forged))
        follower = Follower(tmp_path / "copy", place, me)
        assert follower.caught_up.wait(20)
        with pytest.raises(JournalOrder, match=f"link {'ee' * 32}, and the chain leads to"):
            follower.check()
        follower.close()
        capfd.readouterr()
        HostProcess(journal.directory, server.url, tmp_path / "signed", []).close()
        said = capfd.readouterr().err
        assert f"message {len(messages)} of the stream is {'ee' * 32}; the journal has" in said

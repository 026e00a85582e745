"""Both ends of the streams: the host's, a process beside it, and a validator's, a thread of its process.

NATS may be away at any time: either end begins again from what the stream and its own files say.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from hawse.journal import JournalError
from hawse.journal.files import replace_durably

from .messages import Copy, Message, Place, Signed, StreamError, Tail

#: Messages that wait for their answers, and that are asked for at a time.
_WINDOW = 64
#: Seconds: between two looks at the journal, for an answer, and before another attempt.
_LOOK, _ANSWER, _RETRY = 0.05, 5, 0.5
#: Seconds that the host's process takes to send what is left when the host has ended.
_LINGER = 10
_AWAY = (NatsError, OSError, asyncio.TimeoutError)


class Streams:
    """Names of a venue's two streams and of their subjects."""

    def __init__(self, place: Place) -> None:
        self.journal, self.signed = f"{place.name}_journal", f"{place.name}_signed"
        self.records = f"{place.name}.journal"
        self._signed, self._at = f"{place.name}.signed", f"{place.name}.at"
        self.configs = (
            StreamConfig(
                self.journal,
                subjects=[self.records],
                num_replicas=place.replicas,
                deny_delete=True,
                deny_purge=True,
            ),
            # The newest of each subject is enough.
            StreamConfig(
                self.signed,
                subjects=[f"{self._signed}.>", f"{self._at}.*"],
                num_replicas=place.replicas,
                max_msgs_per_subject=1,
            ),
        )

    def signature(self, validator: bytes, batch: int) -> str:
        """Subject of a signature."""
        return f"{self._signed}.{validator.hex()}.{batch}"

    def at(self, validator: bytes) -> str:
        """Subject of how far a validator is."""
        return f"{self._at}.{validator.hex()}"


@contextlib.asynccontextmanager
async def _connected(place: Place) -> AsyncIterator[tuple[Client, JetStreamContext]]:
    async def quiet(_: Exception) -> None:
        """What goes wrong is seen where it is waited for."""

    client = await nats.connect(
        list(place.servers),
        connect_timeout=2,
        max_reconnect_attempts=3,
        reconnect_time_wait=0.2,
        error_cb=quiet,
    )
    try:
        yield client, client.jetstream(timeout=_ANSWER)
    finally:
        with contextlib.suppress(*_AWAY):
            await asyncio.wait_for(client.close(), 2)


async def _from(js: JetStreamContext, stream: str, first: int) -> AsyncIterator[list[Any]]:
    """Messages of a stream from sequence ``first`` on, some at a time, none if there are none yet."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=max(first, 1),
        ack_policy=AckPolicy.NONE,
        inactive_threshold=30,
    )
    info = await js.add_consumer(stream, config)
    pull = await js.pull_subscribe_bind(info.name, stream)
    task = asyncio.current_task()
    # The client may keep a cancellation to itself.
    while task is None or not task.cancelling():
        try:
            yield await pull.fetch(_WINDOW, timeout=0.5)
        except NatsTimeout:
            # A consumer that went with its server says nothing either.
            await js.consumer_info(stream, info.name)
            yield []


class Host:
    """The host's end.

    Args:
        journal: directory of the venue's journal.
        place: of the streams.
        directory: where signatures go, and how far each validator is.
        validators: whose, addresses of 20 bytes.
    """

    def __init__(self, journal: Path, place: Place, directory: Path, validators: Sequence[bytes]) -> None:
        self._journal, self._place, self._directory = journal, place, directory
        self._validators = {validator.hex(): validator for validator in validators}
        self._streams = Streams(place)
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        """Publish and collect until ``stopped``, and then what is durable by then, if NATS is there.

        Raises:
            JournalError: stream and journal are not of one history, or the journal is damaged.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        ended: float | None = None
        loop = asyncio.get_running_loop()
        while ended is None or loop.time() < ended:
            try:
                async with _connected(self._place) as (client, js):
                    for config in self._streams.configs:
                        await js.add_stream(config)
                    collecting = asyncio.create_task(self._collect(js))
                    try:
                        await self._publish(js, client.max_payload, collecting)
                        return
                    finally:
                        collecting.cancel()
                        await asyncio.wait({collecting}, timeout=2)
            except _AWAY:
                if self.stopped.is_set():
                    ended = ended or loop.time() + _LINGER
                await asyncio.sleep(_RETRY)

    async def _publish(self, js: JetStreamContext, most: int, beside: "asyncio.Task[None]") -> None:
        tail = Tail(self._journal, await self._last(js))
        try:
            while True:
                last_look, some = self.stopped.is_set(), []
                for message in tail.read():
                    some.append(message)
                    if len(some) == _WINDOW:
                        await self._send(js, some, most)
                        some = []
                await self._send(js, some, most)
                if beside.done():
                    beside.result()
                if last_look:
                    return
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), _LOOK)
        finally:
            tail.close()

    async def _last(self, js: JetStreamContext) -> Message | None:
        """The last message of the stream, whose sequence number is its own plus one."""
        try:
            raw = await js.get_last_msg(self._streams.journal, self._streams.records)
        except NotFoundError:
            return None
        message = Message.decode(raw.data or b"")
        if raw.seq != message.number + 1:
            raise StreamError(
                f"message {message.number} stands at {raw.seq} in the stream, not {message.number + 1}"
            )
        return message

    async def _send(self, js: JetStreamContext, messages: Sequence[Message], most: int) -> None:
        """Have them stored, each exactly once: in its own place, or not at all."""
        waiting = []
        for message in messages:
            data = message.encode()
            if len(data) > most:
                raise StreamError(f"message {message.number}: {len(data)} bytes, and the server takes {most}")
            headers = {"Nats-Msg-Id": str(message.number), "Nats-Expected-Last-Sequence": str(message.number)}
            waiting.append(js.publish(self._streams.records, data, _ANSWER, self._streams.journal, headers))
        for done in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done

    async def _collect(self, js: JetStreamContext) -> None:
        async for some in _from(js, self._streams.signed, 1):
            for raw in some:
                self._keep(raw.subject.split("."), raw.data)

    def _keep(self, subject: Sequence[str], data: bytes) -> None:
        """A validator's word, to its file; what is none of theirs is passed over."""
        match subject:
            case [_, "signed", who, batch] if (
                who in self._validators and batch.isdecimal() and batch.isascii()
            ):
                with contextlib.suppress(StreamError):
                    signed = Signed.decode(data, int(batch), self._validators[who])
                    path = self._directory / f"{signed.batch}.{who}"
                    text = signed.signature.hex().encode() + b"\n"
                    if not path.exists() or path.read_bytes() != text:
                        replace_durably(path, text)
            case [_, "at", who] if who in self._validators and len(data) < 4096:
                replace_durably(self._directory / f"at.{who}", data)


class HostProcess:
    """A process with a :class:`Host`, which ends behind ours; it shares nothing with the slot path."""

    def __init__(self, journal: Path, url: str, directory: Path, validators: Sequence[bytes]) -> None:
        people = [validator.hex() for validator in validators]
        command = [sys.executable, "-m", __name__, str(journal), url, str(directory), *people]
        # A session of its own: an interrupt of ours must not stop it before the last records are out.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def close(self) -> None:
        """Have it send what is durable, for some seconds at most, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(2 * _LINGER)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Follower:
    """A validator's end: keeps a copy of the journal, and sends what he has to say.

    Args:
        directory: of the copy.
        place: of the streams.
        validator: address of 20 bytes.

    Attributes:
        caught_up: set once the copy has all that the stream had when it was first looked at.
    """

    def __init__(self, directory: Path, place: Place, validator: bytes) -> None:
        self._copy, self._place, self._validator = Copy(directory), place, validator
        self._streams = Streams(place)
        self._to_send: dict[str, bytes] = {}
        self._error: JournalError | None = None
        self._stopped, self.caught_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Say what made an end of it.

        Raises:
            JournalError: the stream has something that does not fit what is here.
        """
        if self._error is not None:
            raise self._error

    def sign(self, signed: Signed) -> None:
        """Send a signature, as soon as that can be done."""
        self._to_send[self._streams.signature(self._validator, signed.batch)] = signed.encode()

    def at(self, text: bytes) -> None:
        """Send how far he is; likewise."""
        self._to_send[self._streams.at(self._validator)] = text

    def close(self) -> None:
        """Send what is left, for some seconds at most, and end."""
        self._stopped.set()
        self._thread.join(2 * _LINGER)
        self._copy.close()

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except JournalError as error:
            self._error = error
        finally:
            self.caught_up.set()

    async def _run(self) -> None:
        """Both ways until it is stopped; a copy that can go no further still lets what was signed go out."""
        ended: float | None = None
        loop = asyncio.get_running_loop()
        while ended is None or (self._to_send and loop.time() < ended):
            with contextlib.suppress(*_AWAY):
                async with _connected(self._place) as (_, js):
                    receiving = asyncio.create_task(self._receive(js))
                    try:
                        while not self._stopped.is_set():
                            if receiving.done() and self._error is None:
                                self._note(receiving)
                                receiving = asyncio.create_task(self._receive(js))
                            await self._send(js)
                            await asyncio.sleep(_LOOK)
                        await self._send(js)
                    finally:
                        receiving.cancel()
                        await asyncio.wait({receiving}, timeout=2)
            if self._stopped.is_set():
                ended = ended or loop.time() + _LINGER
            await asyncio.sleep(0 if self._stopped.is_set() and not self._to_send else _RETRY)

    def _note(self, receiving: "asyncio.Task[None]") -> None:
        try:
            receiving.result()
        except JournalError as error:
            self._error = error
            self.caught_up.set()

    async def _receive(self, js: JetStreamContext) -> None:
        if self._error is not None:
            return
        state = (await js.stream_info(self._streams.journal)).state
        if state.first_seq > self._copy.next + 1:
            raise StreamError(
                f"the stream begins with message {state.first_seq - 1}, and {self._copy.next} is needed"
            )
        if state.last_seq < max(1, self._copy.next):
            return await asyncio.sleep(_RETRY)  # it is filled from the host's journal
        # The configuration, and below the last one, again: they have to be the same.
        self._copy.take(Message.decode((await js.get_msg(self._streams.journal, 1)).data or b""))
        target = state.last_seq
        async for some in _from(js, self._streams.journal, self._copy.next):
            for raw in some:
                message = Message.decode(raw.data)
                if not self._copy.take(message) and message.number > self._copy.next:
                    raise NatsError(f"message {message.number} before {self._copy.next}")  # asks again
            if some:
                self._copy.sync()
            if self._copy.next >= target:
                self.caught_up.set()

    async def _send(self, js: JetStreamContext) -> None:
        for subject, data in list(self._to_send.items())[:_WINDOW]:
            await js.publish(subject, data, _ANSWER, self._streams.signed)
            if self._to_send.get(subject) is data:
                del self._to_send[subject]


async def _main(journal: str, url: str, directory: str, *validators: str) -> None:
    host = Host(Path(journal), Place.parse(url), Path(directory), [bytes.fromhex(v) for v in validators])
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(host.stopped.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await host.run()


if __name__ == "__main__":
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except (JournalError, OSError) as error:
        sys.exit(f"Error: the journal is no longer published: {type(error).__name__}: {error}")

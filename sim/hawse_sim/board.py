"""The virtual board: the Verilated Appliance behind a TCP port or a pseudo-terminal.

``python -m hawse_sim.board --tcp 7000`` prints the URL to open, ``socket://127.0.0.1:7000``.

It joins the appliance at the byte streams just inside the UART, so that a host opens board and simulation
alike. The clock runs while anything moves and stops otherwise; while the host owes an acknowledgement,
it runs so that the link's time-out takes about half a second.
"""

import argparse
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, Protocol

from hawse.wire import Geometry
from hawse_hdl.appliance import Appliance

from .rtl import FOREVER, check_scramble, load, trace_file
from .toolchain import ToolError
from .verilate import announce_build, build_library

_TIMEOUT_CYCLES = 1 << 18
#: While an acknowledgement is owed: seconds between two slices, and cycles of one.
_WAKE, _SLICE = 0.01, _TIMEOUT_CYCLES // 50
#: Cycles at a stretch while there is work, between two looks at the line.
_STRETCH = 2000
_BUFFER = 1 << 16


class _Slice(ctypes.Structure):
    _fields_ = [
        ("taken", ctypes.c_uint64),
        ("given", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("idle", ctypes.c_uint8),
        ("unacked", ctypes.c_uint8),
    ]


_U64, _HANDLE, _BYTES = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "hawse_appliance_scramble": (None, [ctypes.c_uint32]),
    "hawse_appliance_new": (_HANDLE, [_BYTES, _U64, _U64]),
    "hawse_appliance_free": (None, [_HANDLE]),
    "hawse_appliance_reset": (None, [_HANDLE]),
    "hawse_appliance_run": (
        None,
        [_HANDLE, _BYTES, _U64, _BYTES, _U64, _U64, ctypes.c_uint8, ctypes.POINTER(_Slice)],
    ),
}


class ApplianceModel:
    """The Verilated Appliance, clocked on demand; parameters as of :class:`~hawse_sim.rtl.RtlBackend`.

    With ``probe`` it has a :class:`~hawse_hdl.link.Probe`, with ``gate`` a :class:`~hawse_hdl.gate.Gate`.

    Attributes:
        cycles: clock cycles since it was made.
        idle: nothing moves before the next byte arrives.
        unacked: the link's time-out is running.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        probe: bool = False,
        gate: bool = False,
        scramble: int | None = None,
        trace: Path | None = None,
        trace_from: int = 0,
        trace_to: int = FOREVER,
        announce: Callable[[str], None] = announce_build,
    ) -> None:
        check_scramble(scramble)
        file = trace_file(trace, trace_from, trace_to)
        path = build_library(
            lambda: Appliance(geometry, timeout=_TIMEOUT_CYCLES, probe=probe, gate=gate),
            "appliance",
            parameters=f"{geometry} {_TIMEOUT_CYCLES}" + " probe" * probe + " gate" * gate,
            trace=trace is not None,
            begins_open=scramble is not None,
            quick=True,
            announce=announce,
        )
        self._library = load(path, _FUNCTIONS)
        self._library.hawse_appliance_scramble(scramble or 0)
        self._model = self._library.hawse_appliance_new(file, trace_from, trace_to)
        self._out = ctypes.create_string_buffer(_BUFFER)
        self.cycles, self.idle, self.unacked = 0, False, False

    def reset(self) -> None:
        """Power loss: epoch 0, nothing remembered."""
        self._library.hawse_appliance_reset(self._model)
        self.idle = self.unacked = False

    def run(
        self, data: bytes, limit: int, *, room: int = _BUFFER, keep_on: bool = False
    ) -> tuple[int, bytes]:
        """Clock for at most ``limit`` cycles, fewer if a run of bytes to the host is complete.

        Args:
            data: bytes from the host.
            limit: clock cycles.
            room: take at most so many bytes.
            keep_on: go on when idle.

        Returns:
            How many bytes of ``data`` were taken, and the bytes to the host.
        """
        s = _Slice()
        self._library.hawse_appliance_run(
            self._model, data, len(data), self._out, min(room, _BUFFER), limit, keep_on, ctypes.byref(s)
        )
        self.cycles, self.idle, self.unacked = s.cycles, bool(s.idle), bool(s.unacked)
        return s.taken, ctypes.string_at(self._out, s.given)

    def close(self) -> None:
        """Finish the waveform and free the model."""
        if self._model:
            self._library.hawse_appliance_free(self._model)
            self._model = None


class Line(Protocol):
    """Where the host attaches: one byte stream, on which hosts come and go."""

    url: str

    def readers(self) -> list[Any]:
        """What to wait for."""

    def read(self) -> bytes:
        """What has arrived, perhaps nothing."""

    def write(self, data: bytes) -> int:
        """Hand over bytes; how many went. Without a host they are lost, as on a real line."""

    def close(self) -> None:
        """Hang up."""


class TcpLine:
    """A TCP port of one host at a time; a new one takes the line over."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from error
        self._peer: socket.socket | None = None
        self.url = f"socket://{host}:{self._listener.getsockname()[1]}"

    def readers(self) -> list[Any]:
        """The port, and the host if there is one."""
        return [self._listener, *([self._peer] if self._peer else [])]

    def read(self) -> bytes:
        """What the host sent; accepts one that calls."""
        if select.select([self._listener], [], [], 0)[0]:
            self._hang_up()
            self._peer = self._listener.accept()[0]
            self._peer.setblocking(False)
            self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._peer:
            return b""
        try:
            data = self._peer.recv(_BUFFER)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def write(self, data: bytes) -> int:
        """Send what the host can take."""
        if not self._peer:
            return len(data)
        try:
            return self._peer.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._hang_up()
            return len(data)

    def _hang_up(self) -> None:
        if self._peer:
            self._peer.close()
            self._peer = None

    def close(self) -> None:
        """Close host and port."""
        self._hang_up()
        self._listener.close()


class PtyLine:
    """A pseudo-terminal, with a symbolic link to it if wanted."""

    def __init__(self, link: Path | None) -> None:
        # Our own descriptor of the host's side keeps the terminal alive while no host has it open.
        self._board, self._host = os.openpty()
        tty.setraw(self._host)
        os.set_blocking(self._board, False)
        self.url = os.ttyname(self._host)
        self._link = link
        if link:
            with suppress(FileNotFoundError):
                link.unlink()
            link.symlink_to(self.url)
            self.url = str(link)

    def readers(self) -> list[Any]:
        """The terminal."""
        return [self._board]

    def read(self) -> bytes:
        """What the host sent."""
        with suppress(BlockingIOError):
            return os.read(self._board, _BUFFER)
        return b""

    def write(self, data: bytes) -> int:
        """Send what the terminal holds; what it cannot hold is lost, as in an overrun UART."""
        with suppress(BlockingIOError):
            return os.write(self._board, data)
        return len(data)

    def close(self) -> None:
        """Close it and remove the link."""
        os.close(self._board)
        os.close(self._host)
        if self._link:
            with suppress(FileNotFoundError):
                self._link.unlink()


def serve(
    geometry: Geometry | None = None,
    *,
    tcp: int | None = None,
    host: str = "127.0.0.1",
    link: Path | None = None,
    probe: bool = False,
    gate: bool = False,
    trace: Path | None = None,
    trace_from: int = 0,
    trace_to: int = FOREVER,
    ready: Callable[[str], None] = print,
    was_reset: Callable[[], None] = lambda: None,
    announce: Callable[[str], None] = announce_build,
) -> None:
    """Run a virtual board until SIGTERM or SIGINT. Call it from the main thread: it takes the signals over.

    Hosts may leave and come back: the board keeps its state. SIGUSR1 is a power loss: epoch 0, memories gone.

    Args:
        geometry: of the book.
        tcp: port to listen at, 0 for any; without it the board is a pseudo-terminal.
        host: address to listen at.
        link: symbolic link to make to the pseudo-terminal.
        probe: with a probe for loopback, bit test and capture.
        gate: with a gate before the book.
        trace: FST file to write; the cycles ``trace_from`` up to, not including, ``trace_to``.
        trace_from: see ``trace``.
        trace_to: see ``trace``.
        ready: told the URL when the board can be opened.
        was_reset: told after a power loss.
        announce: told once, before a build.

    Raises:
        OSError: the port is taken, or the link or the waveform cannot be made.
        ToolError: the model did not build.
    """
    with ExitStack() as stack:
        model = ApplianceModel(
            geometry or Geometry(),
            probe=probe,
            gate=gate,
            trace=trace,
            trace_from=trace_from,
            trace_to=trace_to,
            announce=announce,
        )
        stack.callback(model.close)
        line: Line = PtyLine(link) if tcp is None else TcpLine(host, tcp)
        stack.callback(line.close)
        woken, waker = socket.socketpair()
        stack.enter_context(woken)
        stack.enter_context(waker)
        woken.setblocking(False)
        waker.setblocking(False)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(waker.fileno()))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))
        ready(line.url)
        _run(model, line, woken, was_reset)


def _run(model: ApplianceModel, line: Line, woken: socket.socket, was_reset: Callable[[], None]) -> None:
    incoming, outgoing = b"", b""
    while True:
        working = bool(incoming) or not model.idle
        wait = 0 if working else _WAKE if model.unacked or outgoing else None
        readable = select.select([woken, *line.readers()], [], [], wait)[0]
        if woken in readable:
            signals = woken.recv(64)
            if signal.SIGTERM in signals or signal.SIGINT in signals:
                return
            if signal.SIGUSR1 in signals:
                model.reset()
                incoming = outgoing = b""
                was_reset()
        if any(r is not woken for r in readable) and len(incoming) < _BUFFER:
            incoming += line.read()
        owed = not working and model.unacked and not incoming
        room = _BUFFER - len(outgoing)
        taken, data = model.run(incoming, _SLICE if owed else _STRETCH, room=room, keep_on=owed)
        incoming = incoming[taken:]
        outgoing += data
        if outgoing:
            outgoing = outgoing[line.write(outgoing) :]


class VirtualBoard:
    """A virtual board in a process of its own, for tests and demonstrations; a context manager.

    Args:
        geometry: of the book.
        pty: offer a pseudo-terminal instead of a TCP port.
        probe: as of :func:`serve`.
        gate: as of :func:`serve`.
        trace: as of :func:`serve`.
        trace_from: as of :func:`serve`.
        trace_to: as of :func:`serve`.

    Attributes:
        url: what ``serial_for_url`` opens.
        process: the board's process.

    Raises:
        RuntimeError: the board did not start; its messages are on stderr.
    """

    def __init__(
        self,
        geometry: Geometry | None = None,
        *,
        pty: bool = False,
        probe: bool = False,
        gate: bool = False,
        trace: Path | None = None,
        trace_from: int = 0,
        trace_to: int = FOREVER,
    ) -> None:
        command = [sys.executable, "-m", "hawse_sim.board", "--json", *(["--pty"] if pty else ["--tcp", "0"])]
        for name, value in asdict(geometry or Geometry()).items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        command += ["--probe"] * probe + ["--gate"] * gate
        if trace is not None:
            command += ["--trace", str(trace), "--trace-from", str(trace_from), "--trace-to", str(trace_to)]
        # The pipe to its standard input ends with this process, however that dies, and the board with it.
        command.append("--until-eof")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self._line()
        self.url: str = first["url"]

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the virtual board ended with status {self.process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def reset(self) -> None:
        """Power loss; returns when the board is up again."""
        self.process.send_signal(signal.SIGUSR1)
        self._line()

    def close(self) -> int:
        """End the board; returns its exit status."""
        self.process.terminate()
        status = self.process.wait(timeout=20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        return status

    def __enter__(self) -> "VirtualBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as JSON where the rest is."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        """A wrong word."""
        if not self.as_json:
            super().error(message)
        self.fail(message, 2)

    def fail(self, message: str, code: int) -> NoReturn:
        """One sentence, and the end."""
        if self.as_json:
            print(json.dumps({"error": "board", "message": message, "exit_code": code}), flush=True)
        else:
            print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(code)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text} is no port, 0 to 65535")
    return int(text)


def main(arguments: list[str] | None = None, program: str = "hawse_sim.board") -> None:
    """Command line of the virtual board, called ``program``."""
    parser = _Parser(
        prog=program,
        description="The Verilated appliance as a board, until it is interrupted. The first line printed is "
        "what to open: give it to --engine of other commands, or to pyserial's serial_for_url. SIGUSR1 is "
        "a power loss.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--tcp", type=_port, metavar="PORT", help="listen at this port; 0: any")
    where.add_argument("--pty", action="store_true", help="a pseudo-terminal (the default)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at [%(default)s]")
    parser.add_argument("--link", type=Path, help="symbolic link to make to the pseudo-terminal")
    parser.add_argument("--probe", action="store_true", help="with loopback, bit test and capture buffer")
    parser.add_argument("--gate", action="store_true", help="with a gate before the book")
    parser.add_argument("--json", action="store_true", help="say url and resets as JSON, one object a line")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    parser.add_argument("--trace", type=Path, metavar="FST", help="write a waveform")
    parser.add_argument("--trace-from", type=int, default=0, metavar="CYCLE")
    parser.add_argument("--trace-to", type=int, default=FOREVER, metavar="CYCLE")
    for name, value in asdict(Geometry()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="[%(default)s]")
    given = sys.argv[1:] if arguments is None else arguments
    parser.as_json = "--json" in given
    o = parser.parse_args(given)

    def say(event: str, url: str | None = None) -> None:
        told = {"url": url} if url else {"event": event}
        print(json.dumps(told) if o.json else url or event, flush=True)

    if o.until_eof:

        def stop() -> None:
            sys.stdin.read()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=stop, daemon=True).start()
    try:
        serve(
            Geometry(o.instruments, o.pool, o.orders, o.tag_bits),
            tcp=o.tcp,
            host=o.host,
            link=o.link,
            probe=o.probe,
            gate=o.gate,
            trace=o.trace,
            trace_from=o.trace_from,
            trace_to=o.trace_to,
            ready=lambda url: say("ready", url),
            was_reset=lambda: say("reset"),
        )
    except ValueError as error:
        parser.error(str(error))
    except (OSError, ToolError) as error:
        parser.fail(str(error), 1)


if __name__ == "__main__":
    main()

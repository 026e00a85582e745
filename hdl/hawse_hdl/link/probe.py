"""A board's own answers beside the link: loopback, bit test, and what the capture buffer holds."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire.probe import ANSWER, ENTRIES, ENTRIES_AT_ONCE, ENTRY_WORDS, PRBS_SEED
from hawse.wire.probe import Probe as Asked

from .capture import SAMPLE_BITS, Capture
from .deframer import Deframer
from .framer import Framer
from .header import FLAG, SLOT_WORDS, WORD

#: Bits of the count of the bytes of a test.
_COUNT = 24


class Probe(wiring.Component):
    """Sits between line and link, hears frames of a type that the link drops, answers between its frames.

    What it is asked and answers: :mod:`hawse.wire.probe`. Off by default; nothing that has one was routed.

    Latency: none on ``rx``; on ``tx`` none but while it answers. An answer begins 5 cycles behind its
    question, or behind the link's frame at work.
    Initiation interval: 1 byte a cycle either way; one question at a time.
    Ordering: bytes of the link keep theirs, and its frames are never cut.  Reset: idle, nothing captured.
    Back-pressure: ``line_rx`` as the link's; ``tx`` waits for an answer, and while test bytes are sent. A
    question that comes during an answer is dropped.
    """

    #: From and to the line.
    line_rx: In(stream.Signature(8))
    line_tx: Out(stream.Signature(8))
    #: To and from the link.
    rx: Out(stream.Signature(8))
    tx: In(stream.Signature(8))
    #: What may be captured, and that it is.
    sample: In(SAMPLE_BITS)
    strobe: In(1)
    #: Nothing is asked, answered or tested.
    idle: Out(1)

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        m.submodules.deframer = self.deframer = Deframer(probe=True)
        m.submodules.framer = self.framer = Framer()
        m.submodules.capture = self.capture = Capture()
        m.submodules.question = self.question = Memory(shape=WORD, depth=SLOT_WORDS, init=[])
        #: The first words of the question; how many it has, and its number.
        self.words = [Signal(WORD, name=f"word{n}") for n in range(6)]
        self.length, self.seq = Signal(range(SLOT_WORDS + 1)), Signal(16)
        #: A question is being answered; bytes of a test are being sent, and are still to be compared.
        self.answering, self.sends = Signal(), Signal(_COUNT)
        self.compares = Signal(_COUNT)
        wiring.connect(m, wiring.flipped(self.line_rx), wiring.flipped(self.rx))
        self._hear(m)
        self._compare(m)
        self._capture(m)
        self._answer(m)
        self._tell_words(m)
        self._take_turns(m)
        m.d.comb += self.idle.eq(~self.answering & (self.sends == 0) & ~self.deframer.done)
        return m

    def _asks(self, kind: Asked) -> Value:
        return self.words[0][:8] == kind

    def _hear(self, m: Module) -> None:
        """Keep a question as it comes; it counts once it was whole."""
        deframer = self.deframer
        m.d.comb += [
            deframer.rx.valid.eq(self.line_rx.valid & self.line_rx.ready),
            deframer.rx.payload.eq(self.line_rx.payload),
        ]
        # One that begins during an answer is not kept, and does not count.
        self.heard = Signal()
        with m.If(deframer.begin):
            m.d.sync += self.heard.eq(~self.answering)
        write = self.question.write_port()
        m.d.comb += [
            write.addr.eq(deframer.index),
            write.data.eq(deframer.word),
            write.en.eq(deframer.write & ~self.answering),
        ]
        with m.If(write.en):
            for n, word in enumerate(self.words):
                with m.If(deframer.index == n):
                    m.d.sync += word.eq(deframer.word)

    def _compare(self, m: Module) -> None:
        """The bytes of a test that come, with what they should be."""
        state = Signal(PRBS_SEED.bit_length(), init=PRBS_SEED)
        self.seen, self.wrong = Signal(WORD), Signal(WORD)
        following, byte = _prbs_step(state)
        off = Signal(8)
        m.d.comb += off.eq(byte ^ self.line_rx.payload)
        with m.If(self.line_rx.valid & self.line_rx.ready & (self.compares != 0)):
            m.d.sync += [
                state.eq(following),
                self.compares.eq(self.compares - 1),
                self.seen.eq(self.seen + 1),
                self.wrong.eq(self.wrong + sum(off[n] for n in range(8))),
            ]
        self.begins = Signal()
        with m.If(self.begins):
            m.d.sync += [state.eq(PRBS_SEED), self.seen.eq(0), self.wrong.eq(0)]
            m.d.sync += [n.eq(self.words[1][:_COUNT]) for n in (self.compares, self.sends)]

    def _capture(self, m: Module) -> None:
        """The buffer; an answer reads entries from ``first`` on, word by word."""
        capture = self.capture
        m.d.comb += [
            capture.sample.eq(self.sample),
            capture.strobe.eq(self.strobe),
            capture.mask.eq(Cat(self.words[1], self.words[2])),
            capture.value.eq(Cat(self.words[3], self.words[4])),
            capture.after.eq(self.words[5]),
        ]

    def _answer(self, m: Module) -> None:
        """One frame for a question, and the bytes of a test behind it."""
        deframer, framer = self.deframer, self.framer
        lengths = {Asked.LOOP: self.length, Asked.RESULT: 3, Asked.STATE: 5}
        lengths[Asked.READ] = 2 + ENTRY_WORDS * ENTRIES_AT_ONCE
        count = Signal(range(SLOT_WORDS + 1))
        m.d.comb += count.eq(2)
        for kind, length in lengths.items():
            with m.If(self._asks(kind)):
                m.d.comb += count.eq(length)
        m.d.comb += [
            framer.frame.payload.type.eq(ANSWER),
            framer.frame.payload.length.eq(Cat(Const(0, 2), count)),
            framer.frame.payload.seq.eq(self.seq),
        ]
        with m.FSM():
            with m.State("HEAR"), m.If(deframer.done & self.heard):
                m.d.sync += [
                    self.length.eq(deframer.header.length[2:]),
                    self.seq.eq(deframer.header.seq),
                    self.answering.eq(1),
                ]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [self.capture.arm.eq(self._asks(Asked.ARM)), framer.frame.valid.eq(1)]
                m.next = "SEND"
            with m.State("SEND"), m.If(framer.frame.ready & ~framer.tx.valid):
                # A host sends the bytes of a test when it has the answer.
                m.d.comb += self.begins.eq(self._asks(Asked.TEST))
                m.d.sync += self.answering.eq(0)
                m.next = "HEAR"

    def _tell_words(self, m: Module) -> None:
        """The words of an answer, each once it was read."""
        words, capture = self.framer.words, self.capture
        at, part = Signal(range(SLOT_WORDS)), Signal(range(ENTRY_WORDS))
        entry = Signal(range(ENTRIES))
        settled = Signal(2)
        read = self.question.read_port(domain="comb")
        told = [self.words[0], self.words[1]]
        results = [self.words[0], self.seen, self.wrong]
        states = [self.words[0], capture.state, capture.trigger, capture.oldest, capture.count]
        took = words.valid & words.ready
        m.d.comb += [read.addr.eq(at), capture.address.eq(entry), words.valid.eq(settled.all())]
        m.d.sync += settled.eq(Mux(took | ~self.answering, 0, Cat(Const(1, 1), settled[0])))
        with m.If(~self.answering):
            m.d.sync += [at.eq(0), part.eq(0), entry.eq(self.words[1])]
        with m.Elif(took):
            m.d.sync += at.eq(at + 1)
            with m.If(at >= len(told)):
                m.d.sync += part.eq(Mux(part == ENTRY_WORDS - 1, 0, part + 1))
                with m.If(part == ENTRY_WORDS - 1):
                    m.d.sync += entry.eq(entry + 1)
        with m.If(self._asks(Asked.LOOP)):
            m.d.comb += words.payload.eq(read.data)
        with m.Elif(self._asks(Asked.RESULT)):
            _choose(m, words.payload, at, results)
        with m.Elif(self._asks(Asked.STATE)):
            _choose(m, words.payload, at, states)
        with m.Elif(self._asks(Asked.READ) & (at >= len(told))):
            m.d.comb += words.payload.eq(capture.data.word_select(part, WORD))
        with m.Else():
            _choose(m, words.payload, at, told)

    def _take_turns(self, m: Module) -> None:
        """Whose bytes go to the line: the link's, but between its frames an answer, or bytes of a test."""
        state = Signal(PRBS_SEED.bit_length(), init=PRBS_SEED)
        following, byte = _prbs_step(state)
        inside = Signal()  # a frame of the link is at work
        waits = self.answering | (self.sends != 0)
        ours = Signal()
        with m.If(~ours):
            wiring.connect(m, wiring.flipped(self.tx), wiring.flipped(self.line_tx))
            with m.If(self.tx.valid & self.tx.ready & (self.tx.payload == FLAG)):
                m.d.sync += [inside.eq(~inside), ours.eq(inside & waits)]
            with m.Elif(~inside & ~self.tx.valid):
                m.d.sync += ours.eq(waits)
        with m.Elif(~waits):
            m.d.sync += ours.eq(0)
        with m.Elif(self.answering):
            wiring.connect(m, self.framer.tx, wiring.flipped(self.line_tx))
        with m.Else():
            m.d.comb += [self.line_tx.valid.eq(1), self.line_tx.payload.eq(byte)]
            with m.If(self.line_tx.ready):
                m.d.sync += [self.sends.eq(self.sends - 1), state.eq(following)]
        with m.If(self.begins):
            m.d.sync += state.eq(PRBS_SEED)


def _choose(m: Module, out: Any, at: Signal, words: list[Any]) -> None:
    with m.Switch(at):
        for n, word in enumerate(words):
            with m.Case(n):
                m.d.comb += out.eq(word)


def _prbs_step(state: Signal) -> tuple[Value, Value]:
    """The state behind a byte of :func:`hawse.wire.probe.prbs`, and the byte."""
    bits: Value = state
    new = []
    for _ in range(8):
        new.append(bits[30] ^ bits[27])
        bits = Cat(new[-1], bits[:30])
    return bits, Cat(*new)

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from hawse.wire import RECORD_BYTES
from hawse_hdl.hashing.cores import SLACK, RecordQueue
from hawse_hdl.hashing.hasher import Size, Tag

WORDS = RECORD_BYTES // 8
DEPTH = SLACK


class RecordQueueContract(wiring.Component):
    """Pieces are the words of the records in order, none lost or doubled; chunks begin and end as told.

    Words are all ones or all zeros. What has waited for three cycles is offered, unless ``hold`` keeps a
    chunk back that is not complete, or was not two cycles ago. Nobody pushes later than ``SLACK`` entries
    after ``room`` has fallen.
    """

    push: In(1)
    last: In(1)
    void: In(1)
    words: In(WORDS)
    ready: In(1)
    held: In(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [Assume(~ResetSignal()), Assume(~self.void | self.last)]
        m.submodules.dut = dut = RecordQueue(DEPTH)
        given, piece = dut.entry, dut.o.payload
        late = Signal(range(SLACK + 1))  # pushed without room
        m.d.sync += late.eq(Mux(dut.room, 0, late + self.push))
        m.d.comb += [
            Assume(~self.push | dut.room | (late < SLACK - 2)),
            dut.push.eq(self.push),
            given.last.eq(self.last),
            given.void.eq(self.void),
            dut.o.ready.eq(self.ready),
            dut.hold.eq(self.held),
        ]
        for n in range(WORDS):
            m.d.comb += given.record[64 * n : 64 * n + 64].eq(self.words[n].replicate(64))

        # Entries that wait, the oldest first, and for how long that one has been there.
        places = range(DEPTH + 3)
        words = [Signal(WORDS, name=f"words_{n}") for n in places]
        lasts, voids = Signal(len(places)), Signal(len(places))
        count, age, n = Signal(range(len(places) + 1)), Signal(3), Signal(range(WORDS))
        begun = Signal()
        ends = n == WORDS - 1
        takes, gives = self.push, dut.o.valid & dut.o.ready
        leaves = gives & ends
        m.d.sync += [
            count.eq(count + takes - leaves),
            age.eq(Mux(leaves | (count == 0), 0, age + (age != 4))),
        ]
        with m.If(gives):
            m.d.sync += [n.eq(Mux(ends, 0, n + 1)), begun.eq(~piece.last)]
        kept = [Cat(w, last, void) for w, last, void in zip(words, lasts, voids, strict=True)]
        new = Cat(self.words, self.last, self.void)
        for place in places:
            older = kept[place + 1] if place + 1 < len(places) else new
            m.d.sync += kept[place].eq(
                Mux(takes & (count - leaves == place), new, Mux(leaves, older, kept[place]))
            )
        waits = Cat(lasts[place] & (count > place) for place in places).any()
        waited = Signal(2)
        m.d.sync += waited.eq(Cat(waits, waited[0]))
        known = waits & waited.all()
        roomy = Signal()  # the queue was empty two cycles ago
        m.d.sync += roomy.eq(count == 0)
        m.d.comb += [
            Assert(~takes | (count < len(places))),
            Assert(dut.room | ~roomy | (count != 0)),
            Assert(~dut.o.valid | (count != 0)),
            Assert(~(dut.o.valid & self.held) | begun | waits),
            Assert(dut.o.valid | (age != 4) | (self.held & ~begun & ~known)),
        ]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(piece.tag == Tag.LEAF),
                Assert((piece.size == Size.NOTHING) == voids[0]),
                Assert((piece.size == Size.WHOLE) == ~voids[0]),
                Assert(piece.last == (lasts[0] & ends)),
                Assert(voids[0] | (piece.data == Array(w.replicate(64) for w in words[0])[n])),
            ]
        return m


def test_pieces_are_the_records(unroll):
    unroll(RecordQueueContract(), 11)


@pytest.mark.slow
def test_pieces_are_the_records_for_long(unroll):
    unroll(RecordQueueContract(), 16)

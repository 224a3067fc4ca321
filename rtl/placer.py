"""Chunks of rows into a scratchpad."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .epilogue import Chunk
from .interfaces import ScratchpadWrite

__all__ = ["LanePlace", "Placer"]


class LanePlace(data.StructLayout):
    """Where one row goes in a scratchpad of at most ``depth`` rows and ``lanes`` lanes. ``last`` ends a command, which then posts to
    ``post``."""

    def __init__(self, *, depth: int, lanes: int):
        super().__init__({"row": range(depth), "lane": range(lanes), "last": 1, "post": 2})


class Placer(wiring.Component):
    """Writes rows of chunks into a scratchpad, each from its place on, running on into the next rows.

    As many chunks of ``slot_bytes`` as fit share a write, which leaves the scratchpad's port to LOAD in the other cycles. (Of a row's
    chunks all but the last have so many bytes, the requantised ones, or none has.) Latency: 1 cycle from the chunk that completes a
    write. Throughput: one chunk per cycle, or ``width`` bytes where chunks are larger. ``done`` comes once per command,
    ``write_cycles`` after its last write was accepted, when all of it is visible.

    Parameters
    ----------
    place : layout of a row's place
    lanes : bytes of a scratchpad row
    width : most bytes per write, at most ``lanes``
    chunk_bytes : most bytes of a chunk
    slot_bytes : bytes of a chunk that may share a write
    write_cycles : from an accepted write until it is visible

    Members
    -------
    halt : chunks are taken, and not written
    i : stream of :class:`Chunk`
    place : :class:`LanePlace` of the chunk's row
    write : to the scratchpad
    done, post : a command is complete
    empty : nothing is inside
    """

    halt: Signal
    i: stream.Interface
    place: data.View
    write: wiring.PureInterface
    done: Signal
    post: Signal
    empty: Signal

    def __init__(self, *, place: LanePlace, lanes: int, width: int, chunk_bytes: int, slot_bytes: int, write_cycles: int):
        self.place_layout = place
        self.lanes = lanes
        self.width = width
        self.chunk_bytes = chunk_bytes
        self.slot_bytes = slot_bytes
        self.write_cycles = write_cycles
        super().__init__({
            "halt": In(1),
            "i": In(stream.Signature(Chunk(chunk_bytes=chunk_bytes))),
            "place": In(place),
            "write": Out(ScratchpadWrite(lanes=lanes, row_bits=16, width=width)),
            "done": Out(1), "post": Out(2), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        chunk, place = self.i.payload, self.place
        pieces = -(-self.chunk_bytes // self.width)
        piece = Signal(range(pieces))

        # Where this piece goes, how much of the chunk it is, and where the next one goes: a row further on if ``crosses``.
        start = Signal(init=1)
        last_row = Signal(16, reset_less=True)
        crosses = Signal(reset_less=True)
        next_lane = Signal(range(self.lanes), reset_less=True)
        row = Signal(16)
        lane = Signal(range(self.lanes))
        left = Signal(range(self.chunk_bytes + 1))
        count = Signal(range(self.width + 1))
        end = Signal(range(2 * self.lanes))
        beyond = Signal(signed(len(end) + 1))
        final = Signal()
        m.d.comb += [
            row.eq(Mux(start, place.row, last_row + crosses)),
            lane.eq(Mux(start, place.lane, next_lane)),
            left.eq(chunk.bytes - piece * self.width),
            final.eq(chunk.bytes <= (piece + 1) * self.width if pieces > 1 else 1),
            count.eq(Mux(final, left, self.width)),
            end.eq(lane + count), beyond.eq(lane + (count - self.lanes)),
        ]

        # The place in the write that is being put together: chunks are whole slots of it, but for the last one.
        slots = max(1, self.width // self.slot_bytes)
        slot = Signal(range(slots))
        out = self.write.stream
        room = Signal()
        moves = Signal()  # a piece leaves the chunk
        complete = Signal()
        last = Signal()
        m.d.comb += [
            room.eq(~out.valid | out.ready),
            moves.eq(self.i.valid & room),
            complete.eq((slot == slots - 1) | (chunk.bytes != self.slot_bytes) | chunk.last),
            self.i.ready.eq(room & final),
            last.eq(moves & final & chunk.last),
        ]
        with m.If(moves):
            m.d.sync += [
                piece.eq(Mux(final, 0, piece + 1)),
                start.eq(final & chunk.last),
                last_row.eq(row), crosses.eq(beyond >= 0),
                next_lane.eq(Mux(beyond >= 0, beyond, end)),
            ]
        with m.If(room):
            m.d.sync += out.valid.eq(moves & complete & ~self.halt)
        data_bits, slot_bits = 8 * self.width, 8 * self.slot_bytes
        whole = chunk.data.as_value().word_select(piece, data_bits)
        with m.If(moves):
            m.d.sync += slot.eq(Mux(complete, 0, slot + 1))
            with m.If(slot == 0):
                m.d.sync += [out.payload.row.eq(row), out.payload.lane.eq(lane), out.payload.data.as_value().eq(whole)]
            for other in range(1, slots):
                with m.If(slot == other):
                    m.d.sync += out.payload.data.as_value()[other * slot_bits:(other + 1) * slot_bits].eq(chunk.data.as_value()[:slot_bits])
            m.d.sync += out.payload.count.eq(slot * self.slot_bytes + count)

        # A command's last write, until it was accepted, and then until it is visible.
        closing = Signal()
        post = Signal(2, reset_less=True)
        with m.If(last):
            m.d.sync += [closing.eq(place.last), post.eq(place.post)]
        with m.Elif(room):
            m.d.sync += closing.eq(0)
        done, mask = closing & room, post
        waiting = closing
        for cycle in range(self.write_cycles):
            next_done = Signal(name=f"done{cycle}")
            next_mask = Signal(2, name=f"post{cycle}", reset_less=True)
            m.d.sync += [next_done.eq(done), next_mask.eq(mask)]
            done, mask = next_done, next_mask
            waiting |= done
        m.d.comb += [self.done.eq(done), self.post.eq(mask), self.empty.eq(~out.valid & ~waiting)]
        return m

"""The asking side of LOAD: commands to runs, runs to bursts."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.commands import Load
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .decode import command_layout
from .elastic_buffer import ElasticBuffer
from .interfaces import BaseLookup, BurstRequest, ErrorShape
from .load_fields import bank_of_words, load_objection
from .load_records import BURST_BEATS, RecordLayout, chunk_bits, next_chunk
from .skid import Skid

__all__ = ["LoadFront"]


class LoadFront(wiring.Component):
    """Takes a command, checks it, waits for its tokens, walks its runs and requests bursts.

    No burst crosses a multiple of 64 bus words, so that none crosses a boundary of an interconnect. Throughput: one run or one
    burst per cycle, whichever is more; a command costs 8 cycles besides. It runs ahead of the writing side as far as
    the records go.

    Reports VALUE and UNSUPPORTED before a command begins and ADDRESS (with the run's address) for a run outside the limit, or for
    words where the base register is not a multiple of 4; all only when everything before is complete (``behind_idle``).

    Parameters
    ----------
    config : the accelerator

    Members
    -------
    halt : level; requests nothing more, except what was already offered
    command : stream of decoded :class:`Load`
    take, taken : tokens of the command's ``wait``
    behind_idle : the writing side has nothing to do
    request, record : a record leaves in the cycle before its request or earlier; there is no room for one under ``halt``
    waits : a command waits for tokens and no request is on its way
    idle : no command, no request; ``quiet``: no request
    """

    halt: Signal
    command: stream.Interface
    take: Signal
    taken: Signal
    behind_idle: Signal
    lookup: wiring.PureInterface
    request: stream.Interface
    record: stream.Interface
    waits: Signal
    idle: Signal
    quiet: Signal
    error: ErrorShape

    def __init__(self, config: Config):
        self.config = config
        self.address_bits = address_bits = config.memory.address_bits
        self._word_bits = exact_log2(config.bus_bytes)
        self._block_bits = exact_log2(BURST_BEATS) + self._word_bits
        super().__init__({
            "halt": In(1), "command": In(stream.Signature(command_layout(Load))),
            "take": Out(1), "taken": In(1), "behind_idle": In(1),
            "lookup": Out(BaseLookup(address_bits)), "request": Out(stream.Signature(BurstRequest(address_bits))),
            "record": Out(stream.Signature(RecordLayout(config))),
            "waits": Out(1), "idle": Out(1), "quiet": Out(1), "error": Out(ErrorShape(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        command = self.command.payload
        is_words = Signal()
        m.d.comb += is_words.eq(bank_of_words(command.bank))

        # The run that comes next, and where its repetition began.
        offset_bits, row_bits = self.config.offset_bits, self.config.control.row_bits
        offset, offset2 = Signal(offset_bits, reset_less=True), Signal(offset_bits, reset_less=True)
        row, row2 = Signal(row_bits, reset_less=True), Signal(row_bits, reset_less=True)
        left1, left2 = Signal(row_bits, reset_less=True), Signal(row_bits, reset_less=True)
        # Of the run that comes next: it is not the last of its repetition, and it is in the last repetition; known with it.
        inner, final = Signal(reset_less=True), Signal(reset_less=True)
        repeats = Signal(reset_less=True)  # there are several runs in a repetition
        walks = Signal()  # in state WALK
        base = Signal(self.address_bits, reset_less=True)
        limit = Signal(self.address_bits, reset_less=True)  # the last offset at which a run fits
        fits = Signal(reset_less=True)
        address = Signal(self.address_bits)
        m.d.comb += address.eq(base + offset)

        run = Signal(data.StructLayout({
            "address": self.address_bits, "left": min(24, self.address_bits), "few": 1, "long": 1, "row": row_bits,
            "lane": self.record.payload.lane.shape(), "bank": self.record.payload.bank.shape(), "start": 1, "last": 1, "post": 2,
            "inside": 1}), reset_less=True)
        run_valid = Signal()
        run_taken = Signal()
        pushed = Signal()  # a run goes from the walk to the bursts
        # Between the two, because which burst may go is decided late in the cycle; with all that is known of a run by then.
        run_less, left_less = (Signal.like(run.left, name=name, reset_less=True) for name in ("run_less", "left_less"))
        run_few = Signal(reset_less=True)  # its bytes may be written at once
        m.d.sync += [run_less.eq(command.run - 1), run_few.eq(command.run[chunk_bits(self.config):] == 0)]
        end = run.address[:self._block_bits] + left_less
        near_end = run.address[:self._block_bits] + left_less[:self._block_bits + 1]  # unless it is long
        m.submodules.runs = runs = Skid(data.StructLayout({"run": run.shape(), "end": len(end), "more": 1}))
        m.d.comb += [
            runs.i.valid.eq(run_valid & run.inside), run_taken.eq(runs.i.valid & runs.i.ready), runs.i.payload.run.eq(run),
            runs.i.payload.end.eq(end), runs.i.payload.more.eq(run.long | near_end[self._block_bits:].any()),
        ]
        cut_valid = Signal()  # a run is being cut into bursts
        quiet = ~run_valid & ~runs.o.valid & ~cut_valid & ~self.request.valid
        m.d.comb += [self.quiet.eq(quiet), self.error.address.eq(run.address)]  # the controller knows which errors have one

        # Known a cycle late, and looked at only when the base is there.
        objection = Signal(ErrorCode, reset_less=True)
        m.d.sync += objection.eq(load_objection(self.config, command))
        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.idle.eq(~self.command.valid & quiet)
                with m.If(self.command.valid & ~self.halt):
                    m.next = "LOOKUP"
            with m.State("LOOKUP"):
                m.d.comb += [self.lookup.valid.eq(1), self.lookup.index.eq(command.base)]
                m.d.sync += [base.eq(self.lookup.base), limit.eq(self.lookup.size)]
                with m.If(self.lookup.ready):
                    m.next = "LIMIT"
            with m.State("LIMIT"):
                m.d.sync += [limit.eq(limit - command.run), fits.eq((command.run <= limit) & ~(is_words & base[:2].any()))]
                m.next = "TOKENS"
                for code in (ErrorCode.VALUE, ErrorCode.UNSUPPORTED):
                    with m.If(objection == code):
                        m.next = code.name
            with m.State("TOKENS"):
                m.d.comb += [self.take.eq(~self.halt), self.waits.eq(~self.taken & quiet)]
                with m.If(self.taken):
                    m.d.sync += walks.eq(1)
                    m.next = "WALK"
            with m.State("WALK"):
                # Whether a run is inside is known when it is on its way, and nothing goes on from one that is not.
                with m.If(run_valid & ~run.inside & ~self.halt):
                    m.d.sync += walks.eq(0)
                    m.next = "ADDRESS"
                with m.Elif(pushed & ~inner & final):
                    m.d.sync += walks.eq(0)
                    m.next = "LAST"
            with m.State("LAST"):
                with m.If(~self.halt):
                    m.d.comb += self.command.ready.eq(run.inside)
                    m.next = "COMMAND"
                    with m.If(~run.inside):
                        m.next = "ADDRESS"
            for code in (ErrorCode.VALUE, ErrorCode.UNSUPPORTED, ErrorCode.ADDRESS):
                with m.State(code.name):
                    m.d.comb += [
                        self.error.valid.eq(quiet & self.behind_idle),
                        self.error.code.eq(code),
                    ]
                    m.d.sync += run_valid.eq(0)

        # The walk itself, enabled by no more than it needs: beside WALK the registers follow the command that comes.
        next_offset = Mux(inner, offset, offset2) + Mux(inner, command.stride1, command.stride2)
        next_row = Mux(inner, row, row2) + Mux(inner, command.row_stride1, command.row_stride2)
        step = ~run_valid | (run.inside & runs.i.ready)
        m.d.comb += pushed.eq(walks & step & ~self.halt)
        with m.If(~walks):
            m.d.sync += [
                offset.eq(command.offset), offset2.eq(command.offset), row.eq(command.row), row2.eq(command.row),
                left1.eq(command.count1), left2.eq(command.count2),
                repeats.eq(command.count1 != 1), inner.eq(command.count1 != 1), final.eq(command.count2 == 1),
            ]
        with m.Elif(step):
            m.d.sync += [offset.eq(next_offset), row.eq(next_row)]
            with m.If(inner):
                m.d.sync += [left1.eq(left1 - 1), inner.eq(left1 != 2)]
            with m.Else():
                m.d.sync += [
                    offset2.eq(next_offset), row2.eq(next_row), left2.eq(left2 - 1), final.eq(left2 == 2),
                    left1.eq(command.count1), inner.eq(repeats),
                ]
        with m.If(walks & step):
            m.d.sync += [
                run.address.eq(address), run.inside.eq(fits & (offset <= limit)), run.left.eq(command.run), run.few.eq(run_few),
                run.long.eq(command.run[self._block_bits + 1:].any()), run.row.eq(row), run.lane.eq(command.lane),
                left_less.eq(run_less), run.bank.eq(command.bank), run.start.eq(1), run.last.eq(~inner & final), run.post.eq(command.post),
            ]
        self._bursts(m, runs.o, cut_valid)
        with m.If(run_taken | self.halt):
            m.d.sync += run_valid.eq(0)
        with m.If(pushed):
            m.d.sync += run_valid.eq(1)
        return m

    def _bursts(self, m: Module, runs: stream.Interface, cut_valid: Signal) -> None:
        """Cuts ``runs`` at multiples of 64 bus words, one burst per cycle. ``cut_valid``: there is what is left of one."""
        word_bits, block_bits = self._word_bits, self._block_bits
        # Who takes a burst is decided far away: that moves a few flip-flops, and the next one waits for a register.
        m.submodules.asked = asked = ElasticBuffer(self.request.payload.shape())
        wiring.connect(m, asked.o, wiring.flipped(self.request))

        # What is left of the run that is being cut; its last byte, from the block in which it stands; and whether that is in another
        # block.
        next_run, run = runs.payload.run, Signal(runs.payload.run.shape(), name="cut", reset_less=True)
        end = Signal.like(runs.payload.end, reset_less=True)
        more = Signal(reset_less=True)
        first_byte = run.address[:block_bits]
        first_word = run.address[word_bits:block_bits]

        record = self.record.payload
        m.d.comb += [
            record.bank.eq(run.bank), record.start.eq(run.start), record.row.eq(run.row), record.lane.eq(run.lane),
            record.first.eq(run.address[:word_bits]), record.bytes.eq(Mux(more, (1 << block_bits) - first_byte, run.left)),
            record.last.eq(run.last & ~more), record.post.eq(run.post),
            record.chunk.eq(next_chunk(
                self.config, record.first, run.left, run.bank, few=run.few, more=more, last_word=first_word.all())),
        ]
        m.d.comb += self.record.valid.eq(cut_valid & asked.i.ready)  # under ``halt`` there is no room for one
        leaves = Signal()
        m.d.comb += [leaves.eq(self.record.valid & self.record.ready), runs.ready.eq(~cut_valid | leaves & ~more)]
        with m.If(runs.ready):
            m.d.sync += [cut_valid.eq(runs.valid), run.eq(next_run), end.eq(runs.payload.end), more.eq(runs.payload.more)]
        with m.If(self.halt):
            m.d.sync += cut_valid.eq(0)
        m.d.comb += [
            asked.i.valid.eq(leaves), asked.i.payload.address.eq(Cat(C(0, word_bits), run.address[word_bits:])),
            asked.i.payload.beats.eq((Mux(more, BURST_BEATS - 1, end[word_bits:block_bits]) - first_word)[:exact_log2(BURST_BEATS)]),
        ]
        bits = chunk_bits(self.config)
        with m.If(leaves & more):
            m.d.sync += [
                run.few.eq((end[block_bits:] == 1) & (end[bits:block_bits] == 0) & ~end[:bits].all()),  # as of what is left
                run.address.eq(Cat(C(0, block_bits), run.address[block_bits:] + 1)),
                run.left.eq(end - ((1 << block_bits) - 1)), run.start.eq(0),
                end.eq(end - (1 << block_bits)), more.eq(end[block_bits + 1:].any()),
            ]

"""Signatures between the blocks of the accelerator: memory ports, scratchpad writes, tokens and engine status.

All streams follow Amaranth's rules (a payload holds while ``valid`` waits for ``ready``). Members are named from the
initiator's side: an engine has ``Out(ReadPort(...))``, a memory has ``In(ReadPort(...))``.
"""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PARAMETER_WORDS, Engine
from ..arch.registers import STALLS, ErrorCode

__all__ = ["TABLE_FIELD", "AccumulatorDrain", "AccumulatorLoad", "BaseLookup", "BurstRequest", "EngineControl", "ErrorShape",
           "ParameterLoad", "ReadPort", "ScratchpadWrite", "TokenPort", "WritePort", "activity_enum"]


TABLE_FIELD = PARAMETER_WORDS  # of :class:`ParameterLoad`, behind those of a channel


class BurstRequest(data.StructLayout):
    """``beats`` + 1 consecutive bus words from byte ``address`` on, which is a multiple of the bus bytes."""

    def __init__(self, address_bits: int):
        super().__init__({"address": unsigned(address_bits), "beats": unsigned(8)})


class ReadPort(wiring.Signature):
    """Memory reads: bursts out, bus words back in order, each with an error flag."""

    def __init__(self, address_bits: int, bus_bits: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        super().__init__({
            "request": Out(stream.Signature(BurstRequest(address_bits))),
            "response": In(stream.Signature(data.StructLayout({"data": unsigned(bus_bits), "error": unsigned(1)}))),
        })


class WritePort(wiring.Signature):
    """Memory writes: bursts and their words out, one response per burst back, in order.

    Data may lag its request by any number of cycles, and never leads it.
    """

    def __init__(self, address_bits: int, bus_bits: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        super().__init__({
            "request": Out(stream.Signature(BurstRequest(address_bits))),
            "data": Out(stream.Signature(data.StructLayout(
                {"data": unsigned(bus_bits), "strobe": unsigned(bus_bits // 8), "last": unsigned(1)}))),
            "response": In(stream.Signature(data.StructLayout({"error": unsigned(1)}))),
        })


class ScratchpadWrite(wiring.Signature):
    """Up to ``width`` bytes into consecutive byte lanes of a scratchpad, running on from lane ``lanes`` − 1 into the next row.

    A stream: byte i of ``data`` (i < ``count``, 1 … width) lands at lane (lane + i) mod lanes of row + (lane + i) ÷ lanes.
    """

    def __init__(self, *, lanes: int, row_bits: int, width: int):
        if width > lanes:
            raise ValueError(f"width must be at most lanes, {lanes}, not {width!r}")
        self.lanes = lanes
        self.row_bits = row_bits
        self.width = width
        super().__init__({"stream": Out(stream.Signature(data.StructLayout({
            "row": unsigned(row_bits),
            "lane": range(lanes),
            "count": range(width + 1),
            "data": data.ArrayLayout(unsigned(8), width),
        })))})


class AccumulatorLoad(wiring.Signature):
    """One word per cycle into column ``column`` of accumulator row ``row`` (both halves counted), when ``valid``."""

    def __init__(self, *, cols: int):
        self.cols = cols
        super().__init__({"valid": Out(1), "row": Out(16), "column": Out(range(cols)), "word": Out(32)})


class AccumulatorDrain(wiring.Signature):
    """Reads all columns of row ``row`` of ``half`` each cycle; ``words`` follow after the accumulator's drain latency."""

    def __init__(self, *, cols: int, half_rows: int, bits: int = 32):
        self.cols = cols
        self.half_rows = half_rows
        super().__init__({"half": Out(1), "row": Out(range(half_rows)), "words": In(signed(bits)).array(cols)})


class ParameterLoad(wiring.Signature):
    """One word per cycle into the parameter memory, when ``valid``: ``field`` (0 bias, 1 multiplier, 2 shift) of channel
    ``group``·lanes + ``lane``; or, where ``field`` is :data:`TABLE_FIELD`, word ``group`` of all lanes' tables. ``group`` is below the
    number of groups, or of words."""

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        super().__init__({
            "valid": Out(1), "group": Out(16), "lane": Out(range(lanes)), "field": Out(range(TABLE_FIELD + 1)), "word": Out(32),
        })


class BaseLookup(wiring.Signature):
    """Asks for a base register: ``index`` holds while ``valid``; in the cycle with ``ready`` base and size are valid."""

    def __init__(self, address_bits: int):
        self.address_bits = address_bits
        super().__init__({
            "valid": Out(1), "index": Out(3), "ready": In(1),
            "base": In(address_bits), "size": In(address_bits),
        })


class TokenPort(wiring.Signature):
    """An engine's side of the token counters.

    ``take`` asks for one token of each peer in ``take_mask``; ``taken`` answers in the same cycle, when all are there, and
    they are gone at the next edge. ``give`` adds one token for each peer in ``give_mask``. ``available`` says per peer whether
    a token is there.
    """

    def __init__(self):
        super().__init__({
            "take": Out(1), "take_mask": Out(2), "taken": In(1), "available": In(2),
            "give": Out(1), "give_mask": Out(2),
        })


class ErrorShape(data.StructLayout):
    """A report of an error: valid for one cycle, first one wins. ``address`` means something with ADDRESS and BUS only."""

    def __init__(self, address_bits: int):
        super().__init__({
            "valid": unsigned(1), "code": ErrorCode, "address": unsigned(address_bits)})


def activity_enum(engine: Engine) -> type:
    """The enum of what an engine does in a cycle: the names of :data:`STALLS` in order, BUSY = 0."""
    return enum.Enum(f"{engine.name.capitalize()}Activity", [(cause.upper(), i) for i, cause in enumerate(STALLS[engine])])


class EngineControl(wiring.Signature):
    """Between the controller and one engine, seen from the engine.

    ``halt`` (level): begin nothing new: no command, burst or row; bursts already requested are completed, data for them
    discarded or strobed off. ``idle``: nothing is in flight and nothing is held (posts included). ``blocked``: the only thing
    left to do is a command that waits for a token. ``activity``: what this cycle was, counted while the program runs.
    ``started`` pulses when a command has its tokens and begins. ``error`` reports: the command at fault is the first that has given no
    tokens; EXECUTE's, of which several may be under way, is told by ``begun``: how many have started from it on, 0 where it was
    refused before it started, 1 where it is the one that started last.
    """

    def __init__(self, engine: Engine, address_bits: int):
        self.engine = engine
        super().__init__({
            "halt": In(1), "idle": Out(1), "blocked": Out(1), "started": Out(1),
            "activity": Out(range(8)), "error": Out(ErrorShape(address_bits)),
            **({"begun": Out(8)} if engine is Engine.EXECUTE else {}),
        })

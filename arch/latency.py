"""Latencies of the machine's blocks, in cycles, as far as the cycle model needs them.

``rtl`` computes its own from its parts; a test compares the two, so that a change there turns a test red rather than a prediction wrong.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

from .commands import Execute
from .config import Config

__all__ = ["LOAD_BURST_BEATS", "STORE_BURST_BEATS", "Latency", "Memory"]

LOAD_BURST_BEATS = 64
STORE_BURST_BEATS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """What the cycle model knows of device memory.

    latency : cycles from a request to its first word
    response : cycles from the last word written to the response, by default as many
    cycles_per_beat : cycles from one bus word to the next, at least
    half_duplex : reads and writes share the words
    bursts : requests that it accepts ahead
    """

    latency: int = 30
    response: int | None = None
    cycles_per_beat: int = 1
    half_duplex: bool = False
    bursts: int = 64

    @property
    def to_response(self) -> int:
        """``response``, whether it was given or not."""
        return self.latency if self.response is None else self.response


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of one accelerator."""

    config: Config

    # Program: from a command's last word dispatched to its fields.
    header = 1        # to look at a command's first word
    queue_free = 2    # from a command that begins until one may move into its place
    decode = 4
    # LOAD: from fields to tokens, from tokens to the first request, from a word to its write.
    load_begin = 6
    load_request = 4
    load_last = 1     # from the last run to the next command
    load_ahead = 2    # bursts that wait for their request behind the cutting of runs, and cycles from a request to a run more
    load_write = 4
    read_order = 2    # from a request until the arbiter knows whose the words are
    # EXECUTE: from tokens to the first vector's step, from there to the first row besides the vectors, from a row to room for the next
    # command's.
    execute_check = 1   # from fields to what can be known before a command begins
    execute_preload = 2
    tile = 4          # from a tile's first vector's step to its first row, at least
    row_pending = -2
    # EXECUTE with sums that stay: from the step of a pass to its controls, which is also a slot's least length, and from its tokens to what
    # it may begin in, if the half was EXECUTE's before and if not.
    pass_control = 4
    pass_claimed = 1
    pass_granted = 2
    distance = 4      # from a touch of an accumulator row to the next one of the same that adds
    # STORE: from fields to tokens, from tokens to the first row, from a row to its reading.
    store_begin = 2
    store_walk = 10
    lookup = 4        # of a base register, in ``store_walk``; for a scratchpad, a cycle for each row that a row of the result touches
    store_row = 3
    store_target = 1  # and from the last give, where the row goes elsewhere than those before
    store_words = 3   # from a chunk to its word on the bus
    store_burst = 3   # from a burst's acceptance to its first word
    refill = 1        # from the last word of a burst that is dispatched to the request that takes its place
    token = 1         # from a give to the cycle in which a waiting command begins
    lock_rows = 5     # from the first cycle without a claim to EXECUTE's first row
    lock_reads = 2    # and to STORE's first read

    @cached_property
    def execute_begin(self) -> int:
        """From the cycle in which EXECUTE's tokens are taken."""
        return int(self.config.control.looks_ahead)

    @cached_property
    def fetch_request(self) -> int:
        """From START to the first request for program words."""
        return 9 if self.config.control.looks_ahead else 7

    @cached_property
    def fetch_next(self) -> int:
        """From one request for program words to the next, at least."""
        return 3 if self.config.control.looks_ahead else 1

    @cached_property
    def fetch_aside(self) -> int:
        """Program words that wait for dispatch in registers, out of the buffer."""
        return 3 if self.config.control.looks_ahead else 0

    @cached_property
    def fetch_word(self) -> int:
        """From a program word's arrival to its dispatch."""
        return 4 if self.config.control.looks_ahead else 2

    @cached_property
    def end(self) -> int:
        """From the last give to DONE."""
        return 3 if self.config.control.looks_ahead else 2

    @cached_property
    def fetch_bytes(self) -> int:
        return min(128, 16 * self.config.bus_bytes)

    @cached_property
    def load_bursts(self) -> int:
        """Bursts that LOAD may have asked for and not written."""
        return self.config.memory.outstanding + 1

    visible = 4       # a write to a scratchpad, from the cycle of the write
    drain = 4         # from a drain request to its words
    shift_to_swap = 1

    @cached_property
    def swap_cycles(self) -> int:
        """From a tile's swap to its first row."""
        return int(self.config.array.dataflow == "ws" and self.config.array.multiplier_kind == "fast-inner-product")

    @cached_property
    def swap_to_shift(self) -> int:
        """From a tile's swap to the first vector of the next, which the decision takes 3 cycles for."""
        array = self.config.array
        return 3 if array.multiplier_kind == "dual" else max(array.multiplier_rows - 1, 3)

    @cached_property
    def settle(self) -> int:
        """From a row until it can be drained."""
        array = self.config.array
        if array.dataflow == "os":  # from a touch: down all rows and across all columns, and through the element behind
            return array.rows + array.cols + (3 if array.dsp_columns == array.cols else 4)
        if array.multiplier_kind == "dual":  # product, tree, accumulator
            return 2 + max(1, (array.rows - 1).bit_length()) + 3
        crossings = (array.multiplier_rows - 1) // array.block_rows if array.block_rows else 0
        # From an activation to the foot, rows besides, in columns with DSP blocks and in those without; the faster ones wait.
        with_dsp = {"single": 3, "fast-inner-product": 6, "packed": 5 if array.dsp_columns > 1 else 3}[array.multiplier_kind]
        without = 7 if array.multiplier_kind == "fast-inner-product" else 4
        element = max(with_dsp if array.dsp_columns else 0, without if array.dsp_columns < array.cols else 0)
        return array.multiplier_rows + crossings + array.col_delay[-1] + 1 + element + 1

    def counting(self, c: Execute) -> int:
        """Of a command whose output rows are counted bit by bit before it begins."""
        repeats = (c.y_count, c.b_count)[:self.config.control.inner_loops - 1]
        return 0 if all(count == 1 for count in repeats) else 1 + sum(count.bit_length() + 1 for count in repeats)

    @cached_property
    def fill_to_emit(self) -> int:
        """Of the transposer: from the last vector that fills to the first that leaves."""
        array = self.config.array
        pieces = -(-array.rows // array.cols)
        return 1 + max(array.col_delay[row % array.cols] - (pieces - 1 - row // array.cols) for row in range(array.rows))

    @cached_property
    def emit_to_fill(self) -> int:
        """Of the transposer: from the last vector that leaves to the first of the next tile; the decision takes 3 cycles."""
        return max(3, self._emitted)

    @cached_property
    def _emitted(self) -> int:
        array, delay = self.config.array, self.config.array.col_delay
        return max(1, *(delay[-1] - (array.rows - 1 - row) - delay[row % array.cols] - row // array.cols for row in range(array.rows)))

    @cached_property
    def slot(self) -> int:
        """Cycles of a pass, where sums stay."""
        return max(self.config.array.rows, self.pass_control)

    @cached_property
    def adding_slot(self) -> int:
        """The same of the first pass of a command of one tile that adds to what the accumulator holds."""
        return max(self.slot, self.config.array.rows + self.distance - 1)

    @cached_property
    def transposed_slot(self) -> int:
        """The same of a pass whose weights are transposed: they are filled in before."""
        array = self.config.array
        fills = self._emitted - 1 + array.cols * -(-array.rows // array.cols) + self.fill_to_emit - 1
        return max(self.adding_slot, array.rows + fills)

    @cached_property
    def tile_change(self) -> int:
        """From a weight tile's first row to the next one's, at least, where weights stay."""
        array = self.config.array
        return self.swap_to_shift - 2 + max(array.rows + 1 + self.shift_to_swap, self.tile)

    def rows_cycles(self, rows: int) -> int:
        """Of a weight tile with so many output rows, in steady state."""
        if self.config.array.dataflow == "os":
            return -(-rows // self.config.array.rows) * self.slot
        return max(rows + self.swap_cycles, self.tile_change)

    @cached_property
    def select(self) -> int:
        """Stages of the multiplexer that chooses a group of columns."""
        groups = -(-self.config.array.cols // self.config.epilogue.lanes)
        return max(1, -(-(groups - 1).bit_length() // 3))

    @cached_property
    def raw(self) -> int:
        """From a group that is read to its chunk: maximum, table, sum and queue besides the selection."""
        epilogue = self.config.epilogue
        return self.drain + self.select + epilogue.max_pool + 2 * epilogue.add + 1 + 2

    @cached_property
    def requantise(self) -> int:
        return self.raw + (11 if self.config.epilogue.multiplier == "parallel" else 14)

    @cached_property
    def interval(self) -> int:
        """Cycles per requantised group."""
        return 1 if self.config.epilogue.multiplier == "parallel" else 8

    @cached_property
    def chunks(self) -> int:
        """Places for chunks behind the epilogue, and in it."""
        return 1 << (self.requantise // self.interval + 7).bit_length()

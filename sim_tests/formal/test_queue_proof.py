"""The queue keeps words and their order, and never reads the word that is being written."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from formal import Harness, prove, refute
from systolith.rtl.queue import Queue


class Order(Harness):
    """One word, chosen by the solver among all that are ever written, is followed to the exit."""

    def __init__(self, depth, *, early=False, unlimited=False):
        super().__init__()
        self.depth = depth
        self.early = early
        self.unlimited = unlimited  # a writer that does not wait for room

    def properties(self, m):
        m.submodules.queue = queue = Queue(width=1, depth=self.depth, early=self.early)
        mark = self.free(1, "mark")
        m.d.comb += [
            queue.w_data.eq(self.free(1, "w_data")), queue.w_en.eq(self.free(1, "w_en")),
            queue.r_en.eq(self.free(1, "r_en") & queue.r_rdy)]
        write = queue.w_en & (queue.w_rdy | self.unlimited)
        level = Signal(range(self.depth + 2))  # by counting, not as the queue has it
        followed, word, ahead = Signal(), Signal(), Signal(range(self.depth + 1))
        m.d.sync += level.eq(level + write - queue.r_en)
        with m.If(write & mark & ~followed):
            m.d.sync += [followed.eq(1), word.eq(queue.w_data), ahead.eq(level - queue.r_en)]
        with m.Elif(followed & queue.r_en):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += followed.eq(0)
        m.d.comb += [
            Assert(queue.level == level), Assert(queue.empty == (level == 0)),
            Assert(queue.w_rdy | (level >= self.depth - 1)),  # room for all that was promised, but for the word at the exit
            Assert(~queue.r_rdy | (level != 0)),
            Assert(~(followed & queue.r_rdy & (ahead == 0)) | (queue.r_data == word)),
        ]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_order(tmp_path, depth, early):
    # Enough to fill it, to pass every place of the memory twice, and to empty it.
    prove(Order(depth, early=early), tmp_path, depth=3 * depth + 4)


def test_a_writer_that_does_not_wait_is_found(tmp_path):
    refute(Order(3, unlimited=True), tmp_path, depth=8)

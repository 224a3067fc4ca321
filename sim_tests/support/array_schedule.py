"""When weights and activations enter an array, for tests that drive nothing but an array."""

from amaranth.sim import Simulator

__all__ = ["array_schedule", "play", "sums"]


def play(dut, signals, events, wanted):
    """Drive ``signals`` of an array by ``events``, cycle to (signal, value) pairs, all others 0; its psums by cycle and column,
    ``wanted`` says under which names."""
    result = {}

    async def bench(ctx):
        for cycle in range(max(cycle for cycle, _ in wanted) + 1):
            for signal in signals:
                ctx.set(signal, 0)
            for signal, value in events.get(cycle, []):
                ctx.set(signal, value)
            for c in range(dut.cols):
                if (cycle, c) in wanted:
                    result[wanted[cycle, c]] = ctx.get(dut.psum[c])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result


def array_schedule(dut, tiles, blocks, weight_bits):
    """Inputs by cycle and name, and the cycles in which vectors start: weights of ``tiles``, each followed by the vectors of its block."""
    inputs, starts, shift_from, start = {}, [], 4, 0
    for tile, block in zip(tiles, blocks, strict=True):
        for i, k in enumerate(reversed(range(dut.rows))):
            for c, delay in enumerate(dut.col_delay):
                inputs[shift_from + i + delay, f"w__{c}"] = int(tile[k, c]) & (1 << weight_bits) - 1
                inputs[shift_from + i + delay, f"w_shift__{c}"] = 1
        start = max(start, shift_from + dut.rows - 1 + dut.shift_to_swap_cycles)
        for r, delay in enumerate(dut.row_delay):  # beside zeros, or the first vector
            inputs[start + delay, f"swap__{r}"] = 1
        shift_from = max(shift_from + dut.rows, start + dut.swap_to_shift_cycles)
        start += dut.swap_cycles
        for i, vector in enumerate(block):
            for r, delay in enumerate(dut.row_delay):
                inputs[start + i + delay, f"a__{r}"] = int(vector[r]) & (1 << dut.activation_bits) - 1
            starts.append(start + i)
        start += len(block)
    return inputs, starts


def sums(dut, outputs, starts):
    """The results of the vectors that start in ``starts``, from outputs by cycle and name."""
    half = 1 << dut.psum_bits - 1
    return [[(outputs[t + dut.latency_cycles + delay][f"psum__{c}"] + half) % (2 * half) - half for c, delay in enumerate(dut.col_delay)]
            for t in starts]

"""Primitives of Lattice's ECP5, and the constraint file of its tools.

Limits: Lattice FPGA-TN-02200, ECP5 sysCLOCK PLL/DLL design and usage guide.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .board import Board

__all__ = ["MULTIPLIER_MAP", "PLL", "PLL_ALWAYS", "PLL_IDLE", "ROWS", "ROW_MAP", "BlockRegister", "PLLDividers", "block_registers",
           "constraints", "is_plain_flip_flop", "multiplier_site", "pll_dividers"]

_PRODUCT = """\
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  parameter _TECHMAP_CONSTMSK_A_ = 0;
  parameter _TECHMAP_CONSTMSK_B_ = 0;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  localparam constant = &_TECHMAP_CONSTMSK_A_ || &_TECHMAP_CONSTMSK_B_;"""
# For yosys' techmap: small signed products with their operands at the upper end of a MULT18X18D. Its own map puts them at the
# lower end and repeats the sign: twenty wires per multiplier into the most crowded tiles of the part.
# A product with a constant, as of places in a row that is no power of two, is a sum: it takes no block.
MULTIPLIER_MAP = f"""\
(* techmap_celltype = "$mul" *)
module multiply_by_constant (A, B, Y);
{_PRODUCT}
  wire _TECHMAP_FAIL_ = !constant || A_WIDTH < 2 || B_WIDTH < 2;
  \\$__soft_mul #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) _TECHMAP_REPLACE_ (
    .A(A), .B(B), .Y(Y));
endmodule

(* techmap_celltype = "$mul" *)
module align_multiplier (A, B, Y);
{_PRODUCT}
  wire _TECHMAP_FAIL_ = constant || !A_SIGNED || !B_SIGNED || A_WIDTH < 2 || B_WIDTH < 2 || A_WIDTH > 18 || B_WIDTH > 18 || Y_WIDTH < 9;
  wire [17:0] a = A << (18 - A_WIDTH);
  wire [17:0] b = B << (18 - B_WIDTH);
  wire signed [35:0] product;
  wire signed [Y_WIDTH-1:0] aligned = product >>> (36 - A_WIDTH - B_WIDTH);
  \\$__MUL18X18 #(.A_SIGNED(1), .B_SIGNED(1)) _TECHMAP_REPLACE_ (
    .A(a), .B(b), .Y(product));
  assign Y = aligned;
endmodule
"""


def _carry_chain(halves: list[tuple[str, str, str, str, int]], carry: int, output: str) -> list[str]:
    """CCU2Cs, two bits each, for (A, B, C, D, table) of every bit: sum = table(A, B, C, D) ^ carry, and where the table gives 0 the
    carry out is table(A, B, 0, 0)."""
    lines, carry_in = [], f"1'b{carry}"
    for i in range(0, len(halves), 2):
        pair = [*halves[i:i + 2], ("1'b0", "1'b0", "1'b0", "1'b0", 0)][:2]
        tables = ", ".join(f".INIT{half}(16'h{bit[4]:04x}), .INJECT1_{half}(\"NO\")" for half, bit in enumerate(pair))
        pins = [f".{pin}{half}({net})" for half, bit in enumerate(pair) for pin, net in zip("ABCD", bit[:4], strict=True)]
        pins += [f".S{half}({output}[{i + half}])" for half in range(len(halves[i:i + 2]))]
        lines += [f"  wire carry{i};", f"  CCU2C #({tables}) chain{i} (.CIN({carry_in}), .COUT(carry{i}), {', '.join(pins)});"]
        carry_in = f"carry{i}"
    return lines


def _partial_products(bits: int, negative: bool) -> str:
    """The chain of :class:`~systolith.rtl.multiplier.PartialProducts`: a bit is (x & y0) + (x beside it & y1)."""
    low, halves = ("x[0]", "y[0]"), []
    if negative:  # + ~(2·x·y1) + 2; the carry in passes the lowest bit, which it inverts
        halves.append(("1'b1", "1'b1", *low, 0x0888))
    else:
        halves.append(("1'b0", "1'b0", *low, 0xf000))
    halves += [(f"x[{i - 1}]", "y[1]", f"x[{min(i, bits - 1)}]", "y[0]", 0x8777 if negative else 0x7888) for i in range(1, bits + 1)]
    halves.append((f"x[{bits - 1}]", "y[1]", f"x[{bits - 1}]", "y[0]", 0x8777 if negative else 0x7888))
    name = f"{'signed_' if negative else ''}partial_products_{bits}"
    return "\n".join([f"module {name} (input [{bits - 1}:0] x, input [1:0] y, output [{bits + 1}:0] q);",
                      *_carry_chain(halves, int(negative), "q"), "endmodule", ""])


def _sign_product(bits: int) -> str:
    """The chain of :class:`~systolith.rtl.multiplier.SignProduct`: c + ~(x & y) + 1."""
    halves = [(f"x[{min(i, bits - 1)}]", "y", f"c[{min(i, bits - 1)}]", "1'b0", 0x8787) for i in range(bits + 1)]
    return "\n".join([f"module sign_product_{bits} (input [{bits - 1}:0] c, input [{bits - 1}:0] x, input y, output [{bits}:0] q);",
                      *_carry_chain(halves, 1, "q"), "endmodule", ""])


_ROW_BITS = (3, 5, 8, 9, 16)
# For yosys' techmap: rows of a multiplication that are one carry chain each; yosys' own map has the ANDs in look-up tables before it.
ROWS = [*(("signed_" if negative else "") + f"partial_products_{bits}" for bits in _ROW_BITS for negative in (False, True)),
        "sign_product_9"]
ROW_MAP = "\n".join([*(_partial_products(bits, negative) for bits in _ROW_BITS for negative in (False, True)), _sign_product(9)])


def is_plain_flip_flop(cell: Mapping[str, Any]) -> bool:
    """A TRELLIS_FF without enable and reset that is zero at power-up: what the registers in blocks can replace."""
    return (cell["type"] == "TRELLIS_FF" and cell["parameters"].get("CEMUX", "1").strip() == "1"
            and cell["parameters"].get("CLKMUX", "CLK") == "CLK" and cell["parameters"].get("REGSET", "RESET") == "RESET"
            and cell["connections"].get("LSR", ["0"])[0] in ("0", "x"))


class BlockRegister(NamedTuple):
    """A register of a block: ``pins`` are all its inputs, or its outputs if it is ``driven`` by the block; ``parameters`` switch it on.

    ``clock`` is the pin of its clock, ``ties`` are pins with the constants that it needs.
    """
    pins: tuple[str, ...]
    driven: bool
    clock: str
    ties: Mapping[str, str]
    parameters: Mapping[str, str]


def block_registers(cell: Mapping[str, Any]) -> Iterator[BlockRegister]:
    """Registers of a block that are not in use.

    MULT18X18D has one at each operand and one at the product, DP16KD one at its output: in both halves of it where words have 36
    bits (Lattice FPGA-TN-02205, ECP5 sysDSP usage guide, and FPGA-TN-02204, ECP5 memory usage guide).
    """
    parameters = cell["parameters"]
    if cell["type"] == "MULT18X18D":
        registers = {"INPUTA": ("A", 18), "INPUTB": ("B", 18), "OUTPUT": ("P", 36)}
        for name, (letter, bits) in registers.items():
            if parameters.get(f"REG_{name}_CLK", "NONE") == "NONE":
                yield BlockRegister(tuple(f"{letter}{i}" for i in range(bits)), name == "OUTPUT", "CLK0",
                                    {"CE0": "1", "RST0": "0"}, {f"REG_{name}_CLK": "CLK0"})
    elif cell["type"] == "DP16KD" and parameters.get("REGMODE_B", "NOREG") == "NOREG":
        halves = "AB" if int(parameters["DATA_WIDTH_B"], 2) == 36 else "B"
        yield BlockRegister(tuple(f"DO{half}{i}" for half in halves for i in range(18)), True, "CLKB",
                            {f"OCE{half}": "1" for half in halves}, {f"REGMODE_{half}": "OUTREG" for half in halves})


class Grid(NamedTuple):
    """Where a part has DSP blocks (four multipliers each) and block RAMs (groups of four): X of the columns, Y of the rows of either."""

    x: tuple[int, ...]
    dsp_y: tuple[int, ...]
    ram_y: tuple[int, ...]


# Project Trellis, tilegrid.json of each part: the tiles MIB_DSP0 and MIB_EBR0.
_25F = Grid((4, 13, 22, 33, 42, 51, 60), (13,), (25, 37))
_45F = Grid((4, 13, 22, 31, 42, 51, 60, 69, 78), (22, 46), (10, 34, 58))
_85F = Grid((4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), (10, 34, 58), (22, 46, 70, 82))
GRIDS: dict[str, Grid] = {f"{kind}-{size}": grid for size, grid in {"12F": _25F, "25F": _25F, "45F": _45F, "85F": _85F}.items()
                          for kind in ("LFE5U", "LFE5UM", "LFE5UM5G")}
_MULTIPLIERS = ((0, 0), (1, 1), (4, 4), (5, 5))  # of a block: distance to its X, and index
_RAMS = ((0, 0), (2, 1), (4, 2), (6, 3))


class Site(NamedTuple):
    """A place on the part, and nextpnr's name of it."""

    x: int
    y: int
    name: str


def multiplier_sites(device: str, rows: int, cols: int) -> Sequence[Sequence[Site]] | None:
    """Sites for ``rows`` × ``cols`` multipliers of an array, or None where the part's grid has fewer.

    Columns of the array follow columns of DSP blocks, and rows fill a block before the next one below: nextpnr left alone scatters the
    multipliers, and partial sums then cross the part at every step. The middle column of blocks stays free as long as there are others:
    what has to do with all columns, as the epilogue and its multipliers, is best in the middle. The lowest rows of blocks are taken.
    """
    grid = GRIDS.get(device)
    if grid is None or rows > 4 * len(grid.dsp_y) or cols > len(grid.x):
        return None
    middle = len(grid.x) // 2
    columns = grid.x if cols == len(grid.x) else (*grid.x[:middle], *grid.x[middle + 1:])
    columns = columns[(len(columns) - cols) // 2:][:cols]
    blocks = grid.dsp_y[len(grid.dsp_y) + -rows // 4:]

    def site(row: int, x: int) -> Site:
        offset, index = _MULTIPLIERS[row % 4]
        return Site(x + offset, blocks[row // 4], f"X{x + offset}/Y{blocks[row // 4]}/MULT18_{index}")

    return [[site(row, x) for x in columns] for row in range(rows)]


def multiplier_blocks(device: str) -> list[list[Site]]:
    """Sites of the multipliers of each block of a part with a grid, those of the middle column first, from the lowest block up."""
    grid = GRIDS[device]
    middle = grid.x[len(grid.x) // 2]
    return [[Site(x + offset, y, f"X{x + offset}/Y{y}/MULT18_{index}") for offset, index in _MULTIPLIERS]
            for x in sorted(grid.x, key=lambda x: abs(x - middle)) for y in reversed(grid.dsp_y)]


def memory_sites(device: str) -> list[Site]:
    """Sites of all block RAMs of a part with a grid."""
    grid = GRIDS[device]
    return [Site(x + offset, y, f"X{x + offset}/Y{y}/EBR{index}") for y in grid.ram_y for x in grid.x for offset, index in _RAMS]


class PLLDividers(NamedTuple):
    """output = input × feedback ÷ reference; the oscillator runs at output × post."""
    reference: int
    feedback: int
    post: int


def pll_dividers(input_mhz: float, output_mhz: float) -> PLLDividers:
    """Dividers that give ``output_mhz`` exactly, with the oscillator (400 … 800 MHz) as near to 600 MHz as they can.

    Raises
    ------
    ValueError
        No dividers give that frequency.
    """
    found = [
        PLLDividers(reference, feedback, post)
        for reference in range(1, 129) if input_mhz / reference >= 3.125
        for feedback in [round(output_mhz * reference / input_mhz)] if 1 <= feedback <= 80
        if abs(input_mhz * feedback / reference - output_mhz) < 1e-6
        for post in range(1, 129) if 400 <= output_mhz * post <= 800
    ]
    if not found:
        raise ValueError(f"clock_mhz must be a frequency that an ECP5 PLL makes from {input_mhz} MHz, not {output_mhz!r}")
    return min(found, key=lambda d: (d.reference, abs(output_mhz * d.post - 600)))


# Of every EHXPLLL here.
PLL_ALWAYS = {
    "a_ICP_CURRENT": "12", "a_LPF_RESISTOR": "8", "a_MFG_ENABLE_FILTEROPAMP": "1", "a_MFG_GMCREF_SEL": "2",
    "p_PLLRST_ENA": "DISABLED", "p_INTFB_WAKE": "DISABLED", "p_STDBY_ENABLE": "DISABLED", "p_DPHASE_SOURCE": "DISABLED",
    "p_OUTDIVIDER_MUXA": "DIVA", "p_OUTDIVIDER_MUXB": "DIVB", "p_OUTDIVIDER_MUXC": "DIVC", "p_OUTDIVIDER_MUXD": "DIVD"}
PLL_IDLE = {"i_RST": 0, "i_STDBY": 0, "i_PHASESEL0": 0, "i_PHASESEL1": 0, "i_PHASEDIR": 1, "i_PHASESTEP": 1, "i_PHASELOADREG": 1,
            "i_PLLWAKESYNC": 0, "i_ENCLKOP": 0}


class PLL(wiring.Component):
    """EHXPLLL and the buffer of its clock net: ``clock`` at ``output_mhz``, which begins when the PLL has locked.

    Until then registers keep the values that they have from configuration, so that nothing needs a reset: as a net of thousands
    of loads that would be the slowest path of the part. The buffer's enable acts between two pulses (Lattice FPGA-TN-02200,
    dynamic clock control). ``late_pin``, where ``late_degrees`` is not None, is a pin at which the same clock appears that much later,
    from the beginning.
    """

    starts_clean = True

    def __init__(self, *, input_mhz: float, output_mhz: float, late_degrees: float | None = None):
        self.input_mhz = input_mhz
        self.output_mhz = output_mhz
        self.late_degrees = late_degrees
        self.dividers = pll_dividers(input_mhz, output_mhz)
        super().__init__({"reference": In(1), "clock": Out(1), "locked": Out(1)} | ({} if late_degrees is None else {"late_pin": Out(1)}))

    def elaborate(self, platform):
        m = Module()
        d = self.dividers
        raw = Signal()
        late: dict[str, Any] = {}
        if self.late_degrees is not None:
            # In eighths of a period of the PLL's oscillator, counted from where the first output has its edge.
            eighths = round(8 * d.post * self.late_degrees / 360)
            shifted = Signal()
            late = {"p_CLKOS_ENABLE": "ENABLED", "p_CLKOS_DIV": d.post, "p_CLKOS_CPHASE": d.post - 1 + eighths // 8,
                    "p_CLKOS_FPHASE": eighths % 8, "o_CLKOS": shifted}
            # The register of the pin, so that the way there is as long as that of the signals.
            m.submodules.pin = Instance("ODDRX1F", i_SCLK=shifted, i_RST=0, i_D0=1, i_D1=0, o_Q=self.late_pin)
        m.submodules.buffer = Instance("DCCA", i_CLKI=raw, i_CE=self.locked, o_CLKO=self.clock)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(self.input_mhz), a_FREQUENCY_PIN_CLKOP=str(self.output_mhz), **PLL_ALWAYS,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_FPHASE=0, p_CLKOP_CPHASE=d.post - 1,
            p_CLKI_DIV=d.reference, p_CLKFB_DIV=d.feedback, p_CLKOP_DIV=d.post, p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.reference, i_CLKFB=raw, o_CLKOP=raw, o_LOCK=self.locked,
            **PLL_IDLE, **late,
        )
        return m


def constraints(board: Board) -> str:
    """The board's pins and clocks as nextpnr-ecp5 reads them (LPF)."""
    lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;"]
    for port, pin in board.pins.items():
        attributes = " ".join(f"{name}={value}" for name, value in pin.attributes.items())
        lines += [f'LOCATE COMP "{port}" SITE "{pin.site}";', f'IOBUF PORT "{port}" {attributes};']
    lines += [f'FREQUENCY PORT "{port}" {mhz} MHZ;' for port, mhz in board.clocks_mhz.items()]
    return "\n".join(lines) + "\n"

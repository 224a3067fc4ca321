"""The ECP5 multiplier map: yosys proves that a mapped product equals the plain one, and that only fitting ones are mapped."""

import subprocess

import pytest
from systolith.boards.primitives_ecp5 import MULTIPLIER_MAP
from systolith.gen import tools

# What the block computes, in place of the primitive.
BLOCK = r"""
module \$__MUL18X18 (input [17:0] A, input [17:0] B, output [35:0] Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  wire signed [17:0] a = A;
  wire signed [17:0] b = B;
  wire signed [35:0] y = a * b;
  assign Y = y;
endmodule
"""


def run(directory, a_bits, b_bits, y_bits, mapped, *, signed="signed"):
    body = f"(input {signed} [{a_bits - 1}:0] a, input {signed} [{b_bits - 1}:0] b, output {signed} [{y_bits - 1}:0] y); assign y = a * b;"
    (directory / "design.v").write_text(f"module gold{body} endmodule\nmodule gate{body} endmodule\n")
    (directory / "multiplier.v").write_text(MULTIPLIER_MAP)
    (directory / "block.v").write_text(BLOCK)
    script = ["read_verilog design.v", "proc", "opt_expr", "opt_clean", "wreduce t:$mul", "techmap -map multiplier.v gate/t:$mul",
              f"select -assert-count {int(mapped)} gate/t:$__MUL18X18"]
    if mapped:
        script += ["techmap -map block.v gate", "opt", "miter -equiv -flatten gold gate miter", "hierarchy -top miter",
                   "sat -verify -prove trigger 0 miter"]
    done = subprocess.run([tools.yosys(), "-q", "-p", "; ".join(script)], cwd=directory, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("a_bits", "b_bits", "y_bits"), [(8, 8, 16), (8, 8, 12), (8, 8, 24), (5, 9, 14), (8, 18, 26)])
def test_a_mapped_product_is_the_product(tmp_path, a_bits, b_bits, y_bits):
    run(tmp_path, a_bits, b_bits, y_bits, mapped=True)


@pytest.mark.parametrize(("a_bits", "b_bits", "y_bits", "signed"), [
    (19, 8, 27, "signed"), (8, 20, 28, "signed"), (3, 3, 6, "signed"), (8, 8, 16, "")])
def test_other_products_are_left_to_yosys(tmp_path, a_bits, b_bits, y_bits, signed):
    run(tmp_path, a_bits, b_bits, y_bits, mapped=False, signed=signed)

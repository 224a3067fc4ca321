"""The ECP5 maps: yosys proves that what is mapped equals the plain product or row, and that only fitting products are mapped."""

import subprocess

import pytest
from systolith.boards.primitives_ecp5 import MULTIPLIER_MAP, ROW_MAP
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
    yosys(directory, script)


def yosys(directory, script):
    done = subprocess.run([tools.yosys(), "-q", "-p", "; ".join(script)], cwd=directory, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("a_bits", "b_bits", "y_bits"), [(8, 8, 16), (8, 8, 12), (8, 8, 24), (5, 9, 14), (8, 18, 26)])
def test_a_mapped_product_is_the_product(tmp_path, a_bits, b_bits, y_bits):
    run(tmp_path, a_bits, b_bits, y_bits, mapped=True)


@pytest.mark.parametrize(("a_bits", "b_bits", "y_bits", "signed"), [
    (19, 8, 27, "signed"), (8, 20, 28, "signed"), (3, 3, 6, "signed"), (8, 8, 16, "")])
def test_other_products_are_left_to_yosys(tmp_path, a_bits, b_bits, y_bits, signed):
    run(tmp_path, a_bits, b_bits, y_bits, mapped=False, signed=signed)


@pytest.mark.parametrize(("signed", "product"), [("", "a * 12"), ("", "7 * a"), ("signed", "a * 9'sd100"), ("signed", "-9'sd77 * a")])
def test_a_product_with_a_constant_takes_no_block(tmp_path, signed, product):
    """It equals the plain one, as the sum that it becomes."""
    body = f"(input {signed} [7:0] a, output {signed} [16:0] y); assign y = {product};"
    (tmp_path / "design.v").write_text(f"module gold{body} endmodule\nmodule gate{body} endmodule\n")
    (tmp_path / "multiplier.v").write_text(MULTIPLIER_MAP)
    yosys(tmp_path, ["read_verilog design.v", "proc", "opt_expr", "opt_clean", "wreduce t:$mul", "select -assert-count 1 gate/t:$mul",
                     "techmap -map multiplier.v gate/t:$mul", "select -assert-none gate/t:$mul gate/t:$__MUL18X18",
                     "select -assert-count 1 gate/t:$__soft_mul", "chtype -set $mul gate/t:$__soft_mul",
                     "miter -equiv -flatten gold gate miter", "hierarchy -top miter", "sat -verify -prove trigger 0 miter"])


ROW = {
    "partial_products": ("signed [{x}:0] x, input [1:0] y, output signed [{q}:0] q", 2,
                         "x * $signed({{1'b0, y[0]}}) + 2 * x * $signed({{1'b0, y[1]}})"),
    "signed_partial_products": ("signed [{x}:0] x, input [1:0] y, output signed [{q}:0] q", 2,
                                "x * $signed({{1'b0, y[0]}}) - 2 * x * $signed({{1'b0, y[1]}})"),
    "sign_product": ("signed [{x}:0] x, input signed [{x}:0] c, input y, output signed [{q}:0] q", 1, "c - x * $signed({{1'b0, y}})"),
}


@pytest.mark.parametrize(("name", "bits"), [
    *((name, bits) for name in ("partial_products", "signed_partial_products") for bits in (3, 5, 8, 9, 16)), ("sign_product", 9)])
def test_a_carry_chain_is_its_row(tmp_path, name, bits):
    """Against yosys' own model of CCU2C, two bits in each."""
    ports, more, formula = ROW[name]
    ports = f"(input {ports.format(x=bits - 1, q=bits - 1 + more)})"
    (tmp_path / "rows.v").write_text(ROW_MAP)
    pins = ", ".join(f".{pin}({pin})" for pin in ("x", "y", "q", *(["c"] if name == "sign_product" else [])))
    (tmp_path / "design.v").write_text(f"module gold{ports}; assign q = {formula.format()}; endmodule\n"
                                       f"module gate{ports}; {name}_{bits} row ({pins}); endmodule\n")
    yosys(tmp_path, [
        "read_verilog design.v rows.v", "proc", "flatten gate", f"select -assert-count {-(-(bits + more) // 2)} gate/t:CCU2C",
        "read_verilog -overwrite +/lattice/cells_sim_ecp5.v", "hierarchy", "proc", "flatten gate",
        "miter -equiv -flatten gold gate miter", "hierarchy -top miter", "sat -verify -prove trigger 0 miter"])

// Gowin's multiplier and block RAMs in the modes that yosys uses, written after Gowin UG287 (DSP) and UG285 (memory): yosys itself has
// empty boxes for them. Multipliers without their registers; RAMs without their output registers, and empty at first.

module MULT9X9 (input [8:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET, output [17:0] DOUT, output [8:0] SOA, SOB);
  wire signed [17:0] a = {{9{ASIGN & A[8]}}, A}, b = {{9{BSIGN & B[8]}}, B};
  assign DOUT = a * b;
endmodule

// Both ports of a RAM of 2,048 × BYTE bits, each as wide as WIDTH_x says. An address counts bits (of eight); of words of two and four bytes
// its lowest bits are their enables.
module gowin_bsram #(parameter BYTE = 8, WIDTH_A = 32, WIDTH_B = 32, MODE_A = 0, MODE_B = 0) (
  input clk_a, ce_a, we_a, reset_a, clk_b, ce_b, we_b, reset_b, input [13:0] ad_a, ad_b, input [4*BYTE-1:0] di_a, di_b,
  output reg [4*BYTE-1:0] do_a, do_b);
  reg [BYTE-1:0] bytes [0:2047];
  integer n;
  initial begin
    for (n = 0; n < 2048; n = n + 1) bytes[n] = 0;
    do_a = 0;
    do_b = 0;
  end

  localparam BYTES_A = WIDTH_A < BYTE ? 1 : WIDTH_A / BYTE, BYTES_B = WIDTH_B < BYTE ? 1 : WIDTH_B / BYTE;
  wire [10:0] at_a = ad_a[13:3] & ~(BYTES_A - 1), at_b = ad_b[13:3] & ~(BYTES_B - 1);
  wire [3:0] enables_a = BYTES_A == 1 ? 1 : ad_a[3:0], enables_b = BYTES_B == 1 ? 1 : ad_b[3:0];

  // What stands in the addressed bytes, and what will.
  function automatic [4*BYTE-1:0] mixed(input [4*BYTE-1:0] old, data, input [3:0] enables, input [2:0] bit_at, input integer width);
    integer k;
    mixed = old;
    if (width < BYTE) begin
      for (k = 0; k < width; k = k + 1) mixed[{29'b0, bit_at} + k] = data[k];
    end else begin
      for (k = 0; k < width / BYTE; k = k + 1) if (enables[k]) mixed[k*BYTE +: BYTE] = data[k*BYTE +: BYTE];
    end
  endfunction
  wire [2:0] bit_a = WIDTH_A < BYTE ? ad_a[2:0] & ~(WIDTH_A - 1) : 0, bit_b = WIDTH_B < BYTE ? ad_b[2:0] & ~(WIDTH_B - 1) : 0;
  wire [4*BYTE-1:0] old_a = {bytes[at_a | (3 & BYTES_A - 1)], bytes[at_a | (2 & BYTES_A - 1)], bytes[at_a | (1 & BYTES_A - 1)], bytes[at_a]};
  wire [4*BYTE-1:0] old_b = {bytes[at_b | (3 & BYTES_B - 1)], bytes[at_b | (2 & BYTES_B - 1)], bytes[at_b | (1 & BYTES_B - 1)], bytes[at_b]};
  wire [4*BYTE-1:0] new_a = mixed(old_a, di_a, enables_a, bit_a, WIDTH_A), new_b = mixed(old_b, di_b, enables_b, bit_b, WIDTH_B);

  // Modes: 0 keeps the output while it writes, 1 shows what is written, 2 what was there.
  integer i;
  always @(posedge clk_a) if (ce_a) begin
    if (we_a) for (i = 0; i < BYTES_A; i = i + 1) bytes[at_a | i] <= new_a[i*BYTE +: BYTE];
    if (!we_a || MODE_A != 0) do_a <= (we_a && MODE_A == 1 ? new_a : old_a) >> bit_a;
    if (reset_a) do_a <= 0;
  end
  integer j;
  always @(posedge clk_b) if (ce_b) begin
    if (we_b) for (j = 0; j < BYTES_B; j = j + 1) bytes[at_b | j] <= new_b[j*BYTE +: BYTE];
    if (!we_b || MODE_B != 0) do_b <= (we_b && MODE_B == 1 ? new_b : old_b) >> bit_b;
    if (reset_b) do_b <= 0;
  end
endmodule

module DPB #(parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0, BIT_WIDTH_0 = 16, BIT_WIDTH_1 = 16, BLK_SEL_0 = 0,
             BLK_SEL_1 = 0, RESET_MODE = "SYNC") (
  input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB, input [13:0] ADA, ADB, input [2:0] BLKSELA, BLKSELB,
  input [15:0] DIA, DIB, output [15:0] DOA, DOB);
  wire [31:0] a, b;
  gowin_bsram #(8, BIT_WIDTH_0, BIT_WIDTH_1, WRITE_MODE0, WRITE_MODE1) ram (
    CLKA, CEA, WREA, RESETA, CLKB, CEB, WREB, RESETB, ADA, ADB, {16'b0, DIA}, {16'b0, DIB}, a, b);
  assign DOA = a[15:0], DOB = b[15:0];
endmodule

module DPX9B #(parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0, BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18,
               BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC") (
  input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB, input [13:0] ADA, ADB, input [17:0] DIA, DIB,
  input [2:0] BLKSELA, BLKSELB, output [17:0] DOA, DOB);
  wire [35:0] a, b;
  gowin_bsram #(9, BIT_WIDTH_0, BIT_WIDTH_1, WRITE_MODE0, WRITE_MODE1) ram (
    CLKA, CEA, WREA, RESETA, CLKB, CEB, WREB, RESETB, ADA, ADB, {18'b0, DIA}, {18'b0, DIB}, a, b);
  assign DOA = a[17:0], DOB = b[17:0];
endmodule

module SDPB #(parameter READ_MODE = 0, BIT_WIDTH_0 = 32, BIT_WIDTH_1 = 32, BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC") (
  input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [13:0] ADA, ADB, input [31:0] DI, input [2:0] BLKSELA, BLKSELB,
  output [31:0] DO);
  gowin_bsram #(8, BIT_WIDTH_0, BIT_WIDTH_1) ram (
    CLKA, CEA, 1'b1, RESETA, CLKB, CEB, 1'b0, RESETB, ADA, ADB, DI, 32'b0, , DO);
endmodule

module SDPX9B #(parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC") (
  input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [13:0] ADA, ADB, input [2:0] BLKSELA, BLKSELB, input [35:0] DI,
  output [35:0] DO);
  gowin_bsram #(9, BIT_WIDTH_0, BIT_WIDTH_1) ram (
    CLKA, CEA, 1'b1, RESETA, CLKB, CEB, 1'b0, RESETB, ADA, ADB, DI, 36'b0, , DO);
endmodule

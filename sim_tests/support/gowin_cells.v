// Gowin's multiplier and block RAMs in the modes that yosys uses, written after Gowin UG287 (DSP) and UG285 (memory): yosys itself has
// empty boxes for them. Multipliers without their registers; RAMs without output registers, and in a read of what is being written there
// is what was there before (normal mode: the port that writes keeps its output).

module MULT9X9 (input [8:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET, output [17:0] DOUT, output [8:0] SOA, SOB);
  parameter AREG = 1'b0;
  parameter BREG = 1'b0;
  parameter OUT_REG = 1'b0;
  parameter PIPE_REG = 1'b0;
  parameter ASIGN_REG = 1'b0;
  parameter BSIGN_REG = 1'b0;
  parameter SOA_REG = 1'b0;
  parameter MULT_RESET_MODE = "SYNC";
  wire signed [17:0] a = {{9{ASIGN & A[8]}}, A}, b = {{9{BSIGN & B[8]}}, B};
  assign DOUT = a * b;
endmodule

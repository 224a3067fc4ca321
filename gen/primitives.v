// Bodies for simulation of the vendors' primitives that a board's top module instantiates. A simulated board's oscillator runs at
// the frequency that its PLL makes, so that a PLL passes its clock on; it locks after a while, which is the reset.

module EHXPLLL #(
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOP_ENABLE = "ENABLED", CLKOP_CPHASE = 0, CLKOP_FPHASE = 0,
  parameter FEEDBK_PATH = "CLKOP", PLLRST_ENA = "DISABLED", INTFB_WAKE = "DISABLED", STDBY_ENABLE = "DISABLED",
  parameter DPHASE_SOURCE = "DISABLED", OUTDIVIDER_MUXA = "DIVA", OUTDIVIDER_MUXB = "DIVB", OUTDIVIDER_MUXC = "DIVC",
  parameter OUTDIVIDER_MUXD = "DIVD", CLKOS_ENABLE = "DISABLED", CLKOS_DIV = 8, CLKOS_CPHASE = 0, CLKOS_FPHASE = 0
) (
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
  output CLKOP, CLKOS, LOCK
);
  reg [4:0] cycles = 0;
  assign CLKOP = CLKI;
  assign CLKOS = ~CLKI;  // later by any part of a period: a simulation has no other edge between two
  assign LOCK = cycles[4];
  always @(posedge CLKI) if (!LOCK) cycles <= cycles + 1;
endmodule

module DCCA (input CLKI, CE, output CLKO);
  reg enabled = 0;
  always @(negedge CLKI) enabled <= CE;
  assign CLKO = CLKI & enabled;
endmodule

// Both bits are taken at the rising edge; the first one is at the pin while the clock is high.
module ODDRX1F (input SCLK, RST, D0, D1, output Q);
  reg first = 0, second = 0;
  assign Q = SCLK ? first : second;
  always @(posedge SCLK) {first, second} <= {D0, D1};
endmodule

// What is at the pin at a rising edge and at the falling one behind it comes out together, at the next rising edge.
module IDDRX1F (input SCLK, RST, D, output reg Q0 = 0, Q1 = 0);
  reg rising = 0, falling = 0;
  always @(posedge SCLK) begin
    {Q0, Q1} <= {rising, falling};
    rising <= D;
  end
  always @(negedge SCLK) falling <= D;
endmodule

module DELAYG #(parameter DEL_MODE = "USER_DEFINED", DEL_VALUE = 0) (input A, output Z);
  assign Z = A;
endmodule

module FD1S3BX (input D, PD, CK, output reg Q = 1);
  always @(posedge CK or posedge PD) if (PD) Q <= 1; else Q <= D;
endmodule

module OFS1P3BX (input SCLK, PD, SP, D, output reg Q = 0);
  always @(posedge SCLK) if (SP) Q <= D | PD;
endmodule

module IFS1P3BX (input SCLK, PD, SP, D, output reg Q = 0);
  always @(posedge SCLK) if (SP) Q <= D | PD;
endmodule

module BB (input I, T, output O, inout B);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

module SB_PLL40_PAD #(
  parameter FEEDBACK_PATH = "SIMPLE", PLLOUT_SELECT = "GENCLK", parameter [3:0] DIVR = 0, parameter [6:0] DIVF = 0,
  parameter [2:0] DIVQ = 0, parameter [2:0] FILTER_RANGE = 0
) (
  input PACKAGEPIN, RESETB, BYPASS,
  output PLLOUTGLOBAL, LOCK
);
  reg [4:0] cycles = 0;
  assign PLLOUTGLOBAL = PACKAGEPIN;
  assign LOCK = cycles[4];
  always @(posedge PACKAGEPIN) if (!LOCK) cycles <= cycles + 1;
endmodule

// A clock beside its double: the oscillator has that of the divided one, and neither is halved.
module ECLKBRIDGECS (input CLK0, CLK1, SEL, output ECSOUT);
  assign ECSOUT = SEL ? CLK1 : CLK0;
endmodule

module ECLKSYNCB (input ECLKI, STOP, output ECLKO);
  reg running = 0;
  always @(negedge ECLKI) running <= !STOP;
  assign ECLKO = ECLKI & running;
endmodule

module CLKDIVF #(parameter DIV = "2.0") (input CLKI, RST, ALIGNWD, output CDIVX);
  assign CDIVX = CLKI & !RST;
endmodule

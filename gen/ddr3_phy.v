// For simulation, in place of the module of the same name in the generated Verilog: LiteDRAM's PHY at an ECP5's pins and the chip of DDR3
// at them, which ddr3.h describes. DDR3_ADDRESS_BITS says how many address pins there are, DDR3_CS and DDR3_RESET whether those are.

import "DPI-C" function void systolith_ddr3(
  input int pins0, input int address0, input int pins1, input int address1, input int enables, input bit [127:0] write_data,
  input int mask, input int registers, output bit [127:0] read_data, output int seen);

module systolith_phy (
  input clock, fast, start, start_reset, pins_reset,
  output stop, restart,
  input [`DDR3_ADDRESS_BITS-1:0] dfi_p0_address, dfi_p1_address,
  input [2:0] dfi_p0_bank, dfi_p1_bank,
  input dfi_p0_cas_n, dfi_p0_cs_n, dfi_p0_ras_n, dfi_p0_we_n, dfi_p0_cke, dfi_p0_odt, dfi_p0_reset_n, dfi_p0_act_n,
  input dfi_p1_cas_n, dfi_p1_cs_n, dfi_p1_ras_n, dfi_p1_we_n, dfi_p1_cke, dfi_p1_odt, dfi_p1_reset_n, dfi_p1_act_n,
  input [63:0] dfi_p0_wrdata, dfi_p1_wrdata,
  input dfi_p0_wrdata_en, dfi_p1_wrdata_en,
  input [7:0] dfi_p0_wrdata_mask, dfi_p1_wrdata_mask,
  input dfi_p0_rddata_en, dfi_p1_rddata_en,
  output [63:0] dfi_p0_rddata, dfi_p1_rddata,
  output dfi_p0_rddata_valid, dfi_p1_rddata_valid,
  input [1:0] dly_sel,
  input rdly_dq_rst, rdly_dq_inc, rdly_dq_bitslip_rst, rdly_dq_bitslip, burstdet_clr,
  output reg [1:0] burstdet_seen,
  output [`DDR3_ADDRESS_BITS-1:0] a,
  output [2:0] ba,
`ifdef DDR3_CS
  output cs_n,
`endif
`ifdef DDR3_RESET
  output reset_n,
`endif
  output cas_n, cke, clk_p, odt, ras_n, we_n,
  output [1:0] dm,
  inout [15:0] dq,
  inout [1:0] dqs_p
);
  // The registers of the pins start once, while nothing else does anything.
  assign {stop, restart} = 0;

  reg [`DDR3_READ_CYCLES-1:0] reading = 0;
  reg [127:0] data;
  reg [127:0] taken;
  int seen;
  wire read = dfi_p0_rddata_en | dfi_p1_rddata_en;
  assign {dfi_p1_rddata, dfi_p0_rddata} = data;
  assign {dfi_p1_rddata_valid, dfi_p0_rddata_valid} = {2{reading[`DDR3_READ_CYCLES-1]}};
  always @(posedge clock) begin
    systolith_ddr3(
      {23'b0, dfi_p0_bank, dfi_p0_reset_n, dfi_p0_cke, dfi_p0_cs_n, dfi_p0_ras_n, dfi_p0_cas_n, dfi_p0_we_n},
      {{32-`DDR3_ADDRESS_BITS{1'b0}}, dfi_p0_address},
      {23'b0, dfi_p1_bank, dfi_p1_reset_n, dfi_p1_cke, dfi_p1_cs_n, dfi_p1_ras_n, dfi_p1_cas_n, dfi_p1_we_n},
      {{32-`DDR3_ADDRESS_BITS{1'b0}}, dfi_p1_address},
      {30'b0, read, dfi_p0_wrdata_en | dfi_p1_wrdata_en}, {dfi_p1_wrdata, dfi_p0_wrdata},
      {16'b0, dfi_p1_wrdata_mask, dfi_p0_wrdata_mask},
      {25'b0, dly_sel, burstdet_clr, rdly_dq_bitslip, rdly_dq_bitslip_rst, rdly_dq_inc, rdly_dq_rst}, taken, seen);
    data <= taken;
    burstdet_seen <= seen[1:0];
    reading <= {reading[`DDR3_READ_CYCLES-2:0], read};
  end
endmodule

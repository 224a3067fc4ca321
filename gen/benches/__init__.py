"""The cocotb benches that ``systolith verify`` runs on the emitted Verilog."""

"""Vendor-free hardware of the accelerator, in Amaranth."""

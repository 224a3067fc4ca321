"""The contract between hardware and software, as plain Python: what both sides must agree on, written once."""

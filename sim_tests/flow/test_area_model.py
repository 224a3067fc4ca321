"""The estimate of look-up tables and flip-flops: its terms, its fit, its table, and refusals before synthesis."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from systolith.arch.settings import merge, parse_assignments, resolve
from systolith.boards import BOARDS, get_board
from systolith.cli import bench_area
from systolith.cli.bench_area import FAMILIES, fit, sample
from systolith.cli.flow import generate_folder
from systolith.cli.show import show_generated
from systolith.gen import build as build_module
from systolith.gen.area_model import KINDS, area, block_of, coefficients, terms
from systolith.gen.build import BuildError, build
from systolith.gen.fit import MARGIN, estimate, excess, nearest
from systolith.gen.generate import generate

SEED = 20261126
PAGE = Path(__file__).parents[2] / "docs" / "results" / "area.md"


def samples(family, seed, count):
    rng, board = np.random.default_rng(seed), get_board(FAMILIES[family].board)
    return [sample(rng, board) for _ in range(count)]


@pytest.mark.parametrize(("path", "block"), [
    ("shell.core.systolith.core", "control"), ("shell.core.systolith.core.fetch", "fetch"), ("shell.memory.ram", "shell"), ("", "shell"),
    ("shell.core.systolith.core.datapath.array.row3.pe0", "array"), ("shell.core.systolith.core.datapath", "control"),
    ("shell.core.systolith.core.datapath.weights.ram", "weights"), ("shell.core.systolith.core.store.epilogue.requantise0", "epilogue"),
    ("shell.core.systolith.core.store.walk", "store"), ("shell.core.systolith.core.counters", "control")])
def test_where_an_instance_counts(path, block):
    assert block_of(path) == block
    assert block in terms(resolve({}), get_board("ulx3s-85f"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fit_finds_what_counts_were_made_of(family):
    """Counts that are sums of terms, with 2 % of noise, of as many configurations as the benchmark has: others are then told to 5 %."""
    rng, board = np.random.default_rng(SEED), get_board(FAMILIES[family].board)
    names = {block: sorted({name for config in samples(family, SEED, 200) for name, size in terms(config, board)[block].items() if size})
             for block in terms(resolve({}), board)}
    truth = {block: {kind: {name: rng.uniform(1, 10) for name in used} for kind in KINDS} for block, used in names.items()}

    def count(config, noise):
        return {block: {kind: round(sum(truth[block][kind][name] * size for name, size in sizes.items() if size) * rng.normal(1, noise))
                        for kind in KINDS} for block, sizes in terms(config, board).items()}

    found = fit([(config, board, count(config, 0.02)) for config in samples(family, SEED + 1, FAMILIES[family].made_of)])
    errors = []
    for config in samples(family, SEED + 2, 20):
        counts = count(config, 0)
        for kind in KINDS:
            guess = sum(found[block][kind].get(name, 0) * size
                        for block, sizes in terms(config, board).items() for name, size in sizes.items())
            errors.append(guess / sum(block[kind] for block in counts.values()) - 1)
    assert all(value >= 0 for block in found.values() for kind in block.values() for value in kind.values())
    assert np.median(np.abs(errors)) < 0.05, f"seed {SEED}: {errors}"


def test_the_table_is_of_these_coefficients():
    """The boards' estimates in the committed table are what the committed coefficients give, and nothing in it is far off."""
    page = PAGE.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")]
    table = {row[0]: row for row in rows}
    fitted = [board for board in BOARDS.values() if board.family in FAMILIES]
    for board in fitted:
        needs = estimate(board.config, board)
        assert [table[board.name][column] for column in (1, 4)] == [f"{needs[kind]:,}" for kind in KINDS], board.name
    errors = [float(row[column].split()[0]) for row in rows for column in (3, 6) if re.match(r"[+-]\d", row[column])]
    assert len(errors) == 2 * (len(fitted) + sum(family.tested_on for family in FAMILIES.values()))
    assert max(map(abs, errors)) <= 100 * MARGIN


def test_the_other_family_keeps_its_table(tmp_path, monkeypatch):
    """One family is fitted anew: its lines change, and no others."""
    page = tmp_path / "area.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(bench_area, "_made_of", lambda *arguments: [])
    monkeypatch.setattr(bench_area, "fit", lambda samples: {})
    monkeypatch.setattr(bench_area, "_page", lambda name, *arguments: ([f"## {name}, anew", "", "| a | b |", ""], 0.0))
    monkeypatch.setattr(bench_area, "__file__", str(tmp_path / "cli" / "bench_area.py"))
    (tmp_path / "gen").mkdir()
    before = bench_area.sections(page)
    bench_area.main(["--only", "ecp5", "--output", str(tmp_path), "--kept", str(tmp_path / "kept")])
    assert bench_area.sections(page) == {"ecp5": ["## ecp5, anew", "", "| a | b |", ""], "ice40": before["ice40"]}
    assert set(before) == set(FAMILIES) and len(before["ice40"]) > 8


def test_one_block_is_fitted_anew(tmp_path, monkeypatch, capsys):
    """Other blocks keep their coefficients, and so do terms of the block that no configuration had this time; no other name is a block."""
    (tmp_path / "gen").mkdir()
    file = tmp_path / "gen" / "area_ecp5.json"
    before = {block: {kind: {"old": 1.0, "both": 2.0} for kind in KINDS} for block in ("array", "store")}
    file.write_text(json.dumps({"made by": "before", "coefficients": before}), encoding="utf-8")
    found = {block: {kind: {"both": 3.0, "new": 4.0} for kind in KINDS} for block in before}
    monkeypatch.setattr(bench_area, "_made_of", lambda *arguments: [])
    monkeypatch.setattr(bench_area, "fit", lambda samples: found)
    monkeypatch.setattr(bench_area, "_page", lambda *arguments: ([], 0.0))
    monkeypatch.setattr(bench_area, "__file__", str(tmp_path / "cli" / "bench_area.py"))
    where = ["--only", "ecp5", "--output", str(tmp_path), "--kept", str(tmp_path / "kept")]
    bench_area.main([*where, "--block", "array"])
    after = json.loads(file.read_text(encoding="utf-8"))
    assert after["coefficients"] == {
        "array": {kind: {"old": 1.0, "both": 3.0, "new": 4.0} for kind in KINDS}, "store": before["store"]}
    assert "--block array:" in after["made by"] and after["made by"].endswith("; the other blocks: before")
    with pytest.raises(SystemExit):
        bench_area.main([*where, "--block", "arrays"])
    assert "invalid choice: 'arrays'" in capsys.readouterr().err


@pytest.mark.parametrize("family", FAMILIES)
def test_every_configuration_is_known(family):
    """What the benchmark may draw has an estimate, if what is in it was counted, and larger arrays are estimated larger."""
    board = get_board(FAMILIES[family].board)
    for config in samples(family, SEED, 50):
        known = area(config, board)
        if family == "ice40" and config.array.weights == "int4":
            assert known == {}, "no array with int4 was among the configurations that were counted"
            continue
        assert set(known) == set(KINDS), f"seed {SEED}: {config}"
        larger = dataclasses.replace(config, array=dataclasses.replace(config.array, rows=config.array.rows + 2))
        assert all(area(larger, board)[kind] > known[kind] for kind in KINDS), f"seed {SEED}: {config}"


def test_what_was_not_counted_has_no_estimate():
    board = get_board("ulx3s-85f")
    config = resolve(board.settings)
    assert area(config, get_board("arty-a7-100")) == {}
    assert area(dataclasses.replace(config, shell="axi"), board) == {}
    serial = dataclasses.replace(config.array, multiplier="dual", dsp_cols=256)
    assert area(dataclasses.replace(config, array=serial), board) == {}, "no configuration with dual was counted on ECP5"
    assert coefficients("xilinx7") == {}


def test_a_part_without_multipliers_takes_more_look_up_tables():
    board = get_board("icebreaker")
    config = board.config
    single = dataclasses.replace(config, array=dataclasses.replace(config.array, multiplier="single"))
    with_blocks, without = (area(single, dataclasses.replace(board, resources={**board.resources, "dsp": dsp})) for dsp in (8, 0))
    assert without["lut"] > with_blocks["lut"] + 50 * 16, "an 8 × 8 multiplier is more than 50 of them"


@pytest.mark.parametrize(("board", "settings", "name"), [
    ("ulx3s-85f", {"array": {"rows": 24, "cols": 48, "multiplier": "lut"}}, "lut"),
    ("ulx3s-25f", {"array": {"rows": 8, "cols": 16, "multiplier": "lut"}}, "lut"),
    ("icebreaker", {"array": {"rows": 8, "cols": 4, "multiplier": "lut"}, "memory": {"accumulator_rows": 128}}, "lut")])
def test_refused_before_synthesis(board, settings, name, tmp_path, monkeypatch):
    """One line with the estimate and what fits; no tool runs."""
    monkeypatch.setattr(build_module, "synthesise", lambda *args, **options: pytest.fail("synthesis was started"))
    chosen = get_board(board)
    config = resolve(merge(chosen.settings, settings))
    assert name in excess(config, chosen)
    generate(config, tmp_path, board=chosen)
    with pytest.raises(BuildError, match=rf"^{board} has \d+ {name} and this configuration needs about \d+; what fits: (\S+=\S+ ?)+$"):
        build(tmp_path)
    change = parse_assignments(nearest(config, chosen).split())
    fitting = resolve(merge(chosen.settings, settings, change))
    assert not excess(fitting, chosen)
    assert fitting.array.rows * fitting.array.cols > 1, "an array of one multiplier is no help"


def test_generate_says_what_it_will_take(tmp_path, capsys):
    """As numbers, and in the line for people; of a family that was not fitted blocks only, and nothing of what a part has not."""
    result = generate_folder(tmp_path / "ice40", board="ice40-hx8k")
    board = get_board("ice40-hx8k")
    assert result["estimate"] == {name: {"needed": needed, "available": board.resources[name]}
                                  for name, needed in estimate(board.config, board).items() if name != "dsp"}
    assert set(result["estimate"]) == {*KINDS, "bram"}
    show_generated(result)
    assert "expected of the part: lut 3,449 of 7,680, ff 2,059 of 7,680, bram 17 of 32" in capsys.readouterr().out
    result = generate_folder(tmp_path / "xilinx7", assignments=["array.rows=2", "array.cols=2"], board="arty-a7-35")
    show_generated(result)
    assert "expected of the part: dsp 12 of 90, bram 75 of 100\n" in capsys.readouterr().out


def test_settings_that_fit_are_named_as_set_takes_them():
    board = get_board("ulx3s-85f")
    config = resolve({"shell": "serial", "array": {"rows": 32, "cols": 33}}, dsp_blocks=board.resources["dsp"])
    assert nearest(config, board) == "array.transposer=false"

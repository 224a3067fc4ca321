"""The table of boards: the same in the README and among the results, and made by its command only."""

from pathlib import Path

import pytest
from systolith.boards import BOARDS
from systolith.cli.bench_boards import BEGIN, COLUMNS, END, SHORT, into_readme

ROOT = Path(__file__).parents[2]


def rows(text):
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_readme_and_results_agree():
    results = rows((ROOT / "docs" / "results" / "boards.md").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = rows(readme.partition(BEGIN)[2].partition(END)[0])
    assert results[0] == COLUMNS and [row[0] for row in results[1:]] == list(BOARDS)
    assert shown == [[row[COLUMNS.index(name)] for name in SHORT] for row in results]
    assert into_readme(readme, results[1:]) == readme


def test_what_is_around_the_table_stays():
    row = [f"{name}!" for name in COLUMNS]
    made = into_readme(f"before\n{BEGIN}\nold\n{END}\nafter\n", [row])
    assert made.startswith(f"before\n{BEGIN}\n") and made.endswith(f"{END}\nafter\n") and "old" not in made
    assert rows(made) == [SHORT, [f"{name}!" for name in SHORT]]


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_readme_without_marks(text):
    with pytest.raises(ValueError, match="must have the lines"):
        into_readme(text, [])

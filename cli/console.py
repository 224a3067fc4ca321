"""What the commands print: results on stdout, as a table or as one JSON document; progress and errors on stderr, a line each."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["complain", "describe", "emit", "fail", "guarded", "percent", "progress", "table"]


def progress(line: str) -> None:
    """One line about what is going on."""
    from rich.console import Console
    Console(stderr=True, soft_wrap=True).print(f"» {line}", style="cyan", markup=False, highlight=False)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """A table on stdout; values that a row does not have stay empty."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    made = Table(title=title, title_justify="left")
    for column in columns:
        numbers = all(isinstance(row.get(column, 0), int | float) for row in rows)
        made.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_text(row[column])) if column in row else "" for column in columns))
    # A pipe or a log has no width of its own; 80 columns would fold what a reader could widen.
    Console(width=None if sys.stdout.isatty() else 140).print(made)


def emit(document: Any, *, as_json: bool, show: Callable[[], None]) -> None:
    """Print a result: ``document`` as JSON, or what ``show`` prints for people."""
    if as_json:
        print(json.dumps(document, default=_plain))
    else:
        show()


def _plain(value: Any) -> Any:
    """NumPy's numbers and paths in JSON."""
    return value.item() if hasattr(value, "item") else str(value)


def describe(error: BaseException) -> str:
    """One line for any failure; those that are not ours say so."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "not enough memory for this size; choose a smaller one"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("systolith"):
        return f"Python package {error.name!r} is missing; run: pip install 'systolith[hardware,demo]'"
    text = " ".join(str(error).split())
    if type(error).__module__.partition(".")[0] == "systolith" or isinstance(error, ValueError | TypeError):
        return text
    return f"internal error, {type(error).__name__}: {text}; set SYSTOLITH_TRACEBACK=1 to see where"


def complain(message: str) -> None:
    """One line on stderr about what went wrong."""
    print(f"systolith: {message}", file=sys.stderr)


def fail(message: str, *, as_json: bool) -> None:
    """Print a failure: one line on stderr, and on stdout where JSON was asked for."""
    complain(message)
    if as_json:
        print(json.dumps({"error": message}))


@contextlib.contextmanager
def guarded(*, as_json: bool) -> Iterator[None]:
    """Turn every failure within into its line and exit code 1; what libraries print meanwhile goes to stderr."""
    stdout = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr if as_json else stdout):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("SYSTOLITH_TRACEBACK"):
            raise
        fail(describe(error), as_json=as_json)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None

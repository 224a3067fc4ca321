"""Hardware with faults put into it on purpose.

A mutation is a change of one place of the source; the accelerator is generated from a changed copy. A place that is no longer
there is an error, so that no mutation dies out unseen.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
import systolith
from nightly import nightly
from systolith.arch.config import Config

__all__ = ["Mutation", "check_places", "generate_mutant", "names"]


class Mutation(NamedTuple):
    """Changes of one file: what was there → what is there instead."""

    file: str
    changes: dict[str, str]

    def apply(self, package: Path) -> str:
        """The text of the file in ``package``, changed."""
        text = (package / self.file).read_text()
        for before, after in self.changes.items():
            found = text.count(before)
            assert found == 1, f"{self.file} must have {before!r} once, not {found} times"
            text = text.replace(before, after)
        return text


def check_places(mutations: Iterable[Mutation]) -> None:
    """That each can still be made."""
    for mutation in mutations:
        assert mutation.apply(Path(systolith.__file__).parent)


def names(mutations: Collection[str], daily: Collection[str]) -> list:
    """Parameters of a test of each; those that are not ``daily`` run at night."""
    assert set(daily) <= set(mutations)
    return [name if name in daily else pytest.param(name, marks=nightly("half a minute each; others run")) for name in mutations]


_GENERATE = """
import json
import sys
from systolith.arch.settings import resolve
from systolith.gen.generate import generate
generate(resolve(json.loads(sys.argv[2])), sys.argv[1])
"""


def generate_mutant(copy: Path, config: Config, mutation: Mutation | None) -> Path:
    """The generated folder of a copy of the sources with ``mutation``."""
    source = Path(systolith.__file__).parent
    package = copy / "systolith"
    package.mkdir(parents=True)
    shutil.copy(source / "__init__.py", package)
    for room in ("arch", "rtl", "gen", "boards"):
        shutil.copytree(source / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    if mutation:
        (package / mutation.file).write_text(mutation.apply(package))
    subprocess.run([sys.executable, "-c", _GENERATE, str(copy / "out"), json.dumps(config.to_dict())], check=True, cwd=copy,
                   env={**os.environ, "PYTHONPATH": str(copy)}, timeout=300)
    return copy / "out"

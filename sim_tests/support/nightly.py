"""What ``make nightly`` runs beside what ``make test`` does."""

import os

import pytest

__all__ = ["NIGHTLY", "nightly"]

NIGHTLY = bool(os.environ.get("SYSTOLITH_NIGHTLY"))


def nightly(why: str) -> pytest.MarkDecorator:
    """The mark of a test, or of a parameter, that ``make test`` has no time for; ``why`` says what it takes, or what stands for it."""
    return pytest.mark.skipif(not NIGHTLY, reason=f"{why}: SYSTOLITH_NIGHTLY=1")

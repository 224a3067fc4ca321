"""The one error of networks."""

from __future__ import annotations

__all__ = ["NetworkError"]


class NetworkError(ValueError):
    """A network that cannot be read, whose operators do not fit each other, or data of another shape or type than it takes."""

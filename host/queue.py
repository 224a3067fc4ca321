"""Programs that follow each other on the device without waiting for the host between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from ..arch.registers import COMPLETED_BITS, Control, State, Status
from .accelerator import Accelerator

__all__ = ["ProgramQueue"]


class ProgramQueue:
    """Hands programs to ``accelerator``, in order, while others run. A context manager: leaving it waits for the end of all.

    ``control.queue_programs`` of them wait on the device, and :meth:`submit` waits for room. Base registers have two sets: programs
    of the same bases share one, and with others a program is taken once those that use the other set have ended. On a device
    without a queue each program is run to its end when it is submitted.

    Parameters
    ----------
    accelerator : runs nothing else until the queue has ended; an error that its device still shows is reset

    Attributes
    ----------
    submitted : how many programs were handed over
    """

    def __init__(self, accelerator: Accelerator):
        self.submitted = 0
        self._accelerator = accelerator
        self._depth = accelerator.config.control.queue_programs
        self._programs: dict[int, npt.NDArray[np.uint32]] = {}
        self._set = 1
        self._windows: list[tuple[tuple[int, ...], tuple[int, ...]] | None] = [None, None]
        self._last_user = [0, 0]  # of each set, the number of the last program that uses it, plus 1
        if self._state() is State.ERROR:
            accelerator.write("CONTROL", Control.RESET)
        self._base_line = accelerator.read("COMPLETED")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()

    @property
    def completed(self) -> int:
        """How many programs have ended well."""
        if not self._depth:
            return self.submitted
        return (self._accelerator.read("COMPLETED") - self._base_line) & (1 << COMPLETED_BITS) - 1

    def submit(self, words: npt.NDArray[np.uint32], *, bases: Sequence[int], sizes: Sequence[int]) -> int:
        """Write the program to ``bases[0]`` and queue it; its number, counted from 0. The memory there must not be in use.

        Parameters and errors as for :meth:`.Accelerator.run`, of this or of an earlier program.
        """
        accelerator = self._accelerator
        if not self._depth:
            accelerator.run(words, bases=bases, sizes=sizes)
        else:
            windows = tuple(bases), tuple(sizes)
            if self._windows[self._set] != windows:
                self.wait(self._last_user[1 - self._set])
                self._set = 1 - self._set
                accelerator.write("PROGRAM_BASES", self._set)
                accelerator.write_bases(bases, sizes)
                self._windows[self._set] = windows
            self.wait(self.submitted - self._depth)
            accelerator.write_program(words, bases=bases, sizes=sizes)
            accelerator.write("CONTROL", Control.ENQUEUE)
            if accelerator.read("STATUS") & Status.START_REFUSED:
                self._check()
            self._programs[self.submitted] = words
            self._last_user[self._set] = self.submitted + 1
        self.submitted += 1
        return self.submitted - 1

    def wait(self, count: int) -> None:
        """Return when the first ``count`` programs have ended.

        Raises
        ------
        ProgramFailed
            One of them, or of those behind them, ended with an error; ``program`` is its number.
        DeviceTimeout
            They did not end.
        """
        if not self._depth or count <= 0:
            return
        self._accelerator.device.poll(lambda: self.completed >= count or self._state() is not State.RUNNING, self._accelerator.timeout_s)
        self._check()
        for number in [number for number in self._programs if number < count]:
            del self._programs[number]

    def finish(self) -> None:
        """Wait for all; the accelerator's ``counters`` are then of the last one."""
        self.wait(self.submitted)
        if self._depth and self.submitted:
            self._accelerator.device.wait(self._accelerator.timeout_s)
            self._accelerator.read_counters()

    def _state(self) -> State:
        return State(self._accelerator.read("STATUS") & 3)

    def _check(self) -> None:
        """Raise what the device shows, if it is in ERROR."""
        if self._state() is State.ERROR:
            number = self.completed
            dropped = self._accelerator.read("STATUS") & Status.WAITING
            raise self._accelerator.failure(self._programs.get(number), program=number, dropped=dropped >> 8)

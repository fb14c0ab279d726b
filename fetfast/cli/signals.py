"""Signals that end a long job as Ctrl-C does: what was written by then is finished."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGTERM", "SIGHUP")  # of whoever runs services, and of a terminal that is closed


class Stopped(KeyboardInterrupt):
    """A signal came; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise Stopped in the main thread, once: what comes after the first is ignored, so
    that a file can be finished. A signal that was ignored before (nohup) stays so."""

    def stop(number: int, _: Any) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status(error: KeyboardInterrupt) -> int:
    """The exit status of whoever was stopped, as shells give it."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)

"""One at a time: what the threads of a process share, and what its forked children must leave alone."""

from __future__ import annotations

import os
from threading import RLock

from fetfast.errors import Unavailable


class Lock:
    """A reentrant lock for the threads of the process that makes it. In a forked child entering it raises Unavailable:
    the threads that the networks are run by do not come along, and the child would wait for them for ever."""

    def __init__(self) -> None:
        self._pid, self._lock = os.getpid(), RLock()

    def check(self) -> None:
        """Raises Unavailable in a forked child."""
        if os.getpid() != self._pid:
            raise Unavailable(
                "this process was forked from one in which networks had run, and has none of their threads; start "
                "processes by multiprocessing.get_context('spawn') (a DataLoader: multiprocessing_context='spawn'), "
                "and open an engine in each"
            )

    def __enter__(self) -> None:
        self.check()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

"""What hands work from one thread to the next: a bounded queue that counts what it drops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """Nobody reads the channel any more."""


class Channel(Generic[T]):
    """A bounded queue between two threads. drop: a full one loses its oldest item, counted in `dropped`; otherwise
    whoever puts waits. Iterating gives the items until the writer has ended, and then raises the writer's error."""

    def __init__(self, size: int, drop: bool) -> None:
        self._items: deque[T] = deque()
        self._size, self._drop = size, drop
        self._changed = Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> None:
        """Raises Closed."""
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                if self._drop:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """The writer has no more."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """The reader wants no more: what is in here is thrown away, and who puts meets Closed."""
        with self._changed:
            self._closed = self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._items and not self._ended:
                    self._changed.wait()
                if not self._items:
                    if self._error is not None and not self._closed:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # a frame is not kept alive while the next one is awaited


def start(name: str, items: Iterable[T], to: Channel[T]) -> Thread:
    """A thread that puts all of `items` into a channel; errors that come up go the same way."""

    def run() -> None:
        try:
            for item in items:
                to.put(item)
                del item
        except Closed:
            return
        except BaseException as error:
            to.end(error)
        else:
            to.end()

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread

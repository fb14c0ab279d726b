"""Runs many processes that fill the rows of one set of pairs."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def pool(workers: int | None) -> Iterator[ProcessPoolExecutor]:
    """Processes (None: one for each core) with one thread each: more would only fight over the cores."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers or os.cpu_count() or 1, context) as run:
            yield run
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def fill(run: ProcessPoolExecutor, rows_of: Callable[[int], float], people: int, count: int) -> dict[str, Any]:
    """Call rows_of(person) for everybody; it makes their rows and returns the seconds of processor time they took.
    Returns `pairs`, `seconds` and `rate`: pairs a second of one core's time."""
    start = time.perf_counter()
    spent = sum(tqdm(run.map(rows_of, range(people)), total=people, desc="pairs", disable=None))
    return {"pairs": count, "seconds": time.perf_counter() - start, "rate": count / max(spent, 1e-9)}

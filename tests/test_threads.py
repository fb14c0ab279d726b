"""One engine in many threads, in many processes: each result is the one that a thread alone gets. And after a fork."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from fetfast import Engine
from fetfast.face import Landmarker
from fetfast.image import load
from fetfast.ops.heatmap import first_flow

DEMO = Path(__file__).parents[1] / "demo"
TRANSFERS = int(os.environ.get("FETFAST_TRANSFERS", 4))  # of each thread; `make soak` runs 100
PROCESSES = 4 if TRANSFERS >= 100 else 2
THREADS = 4


def pictures() -> list[np.ndarray]:
    return [load(DEMO / f"{name}.png")[::2, ::2].copy() for name in ("smile", "surprise", "wink")]


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Of different people and sizes, so that a mixture is seen."""
    shown = pictures()
    return [(src, tgt[: 200 + 10 * i]) for (src, tgt), i in zip(product(shown, shown), range(9), strict=True)]


def hurried(engine: Engine, expected: list[np.ndarray], threads: int, transfers: int) -> int:
    """How many results of that many threads, which all use one engine at once, are not bit for bit as expected."""
    work = pairs()

    def one(thread: int) -> int:
        order = np.random.default_rng(thread).integers(len(work), size=transfers)
        return sum(not np.array_equal(engine.transfer(*work[i]), expected[i]) for i in order)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(threads)))


def in_a_process(plan: str, expected: list[np.ndarray], transfers: int) -> int:
    return hurried(Engine(plan), expected, THREADS, transfers)


@pytest.fixture(scope="module", params=["flow_fp32", "unet_fp16"])
def engine(request) -> Engine:
    return Engine(request.param)


@pytest.fixture(scope="module")
def expected(engine) -> list[np.ndarray]:
    """What one thread gets."""
    return [engine.transfer(*pair) for pair in pairs()]


def test_threads_share_an_engine(engine, expected):
    assert hurried(engine, expected, THREADS, TRANSFERS) == 0


def test_threads_share_prepared_targets_too(engine):
    shown = pictures()
    faces = [engine.landmarker.detect(picture)[0] for picture in shown]
    targets = [engine.prepare(picture) for picture in shown]
    work = list(product(faces, targets))
    alone = [engine.render(*pair) for pair in work]

    def one(thread: int) -> bool:
        order = np.random.default_rng(thread).integers(len(work), size=20)
        return all(np.array_equal(engine.render(*work[i]), alone[i]) for i in order)

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(one, range(THREADS)))


def test_streams_share_an_engine(engine):
    src, tgt = pictures()[:2], pictures()
    alone = [list(engine.stream(src, picture)) for picture in tgt]
    together = zip(*(engine.stream(src, picture) for picture in tgt), strict=True)  # a step of each in turn
    for i, step in enumerate(together):
        for stream, frame in enumerate(step):
            np.testing.assert_array_equal(frame, alone[stream][i])


def test_threads_with_an_engine_each(expected, engine):
    """What they share then is the process: its products' threads, its pool for rows."""

    def one(_: int) -> bool:
        own, work = Engine(engine.plan), pairs()
        return all(np.array_equal(own.transfer(*work[i]), expected[i]) for i in range(TRANSFERS))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(one, range(3)))


def test_threads_share_a_landmarker():
    landmarker, shown = Landmarker(), pictures()
    alone = [landmarker.detect(picture)[0].landmarks for picture in shown]

    def one(thread: int) -> bool:
        found = [landmarker.detect(picture)[0].landmarks for picture in shown * 3]
        return all(np.array_equal(a, b) for a, b in zip(found, alone * 3, strict=True))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(one, range(THREADS)))


def test_processes_with_threads_that_share_an_engine(engine, expected):
    """`make soak`: 4 processes, 4 threads each, 100 transfers each."""
    with get_context("spawn").Pool(PROCESSES) as pool:
        wrong = pool.starmap(in_a_process, [(engine.plan.name, expected, TRANSFERS)] * PROCESSES)
    assert wrong == [0] * PROCESSES


FORKED = """
import os, sys, time
from multiprocessing import get_context
import fetfast
from fetfast.image import load
src, tgt = "{demo}/smile.png", "{demo}/surprise.png"
{parent}

def child(code):
    begin = time.perf_counter()
    try:
        exec(code, globals())
    except fetfast.Unavailable as error:
        assert "spawn" in str(error), error
        print("refused" if time.perf_counter() - begin < 1 else "late", flush=True)
    else:
        print("worked", flush=True)

for code in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        child(code)
        sys.exit()  # which gives up all that there is, networks too
    assert os.waitpid(pid, 0)[1] == 0
    with get_context("fork").Pool(1) as pool:
        pool.apply(child, (code,))
"""
USED = """
engine = fetfast.Engine("flow_fp32")
engine.transfer(src, tgt)
face, target = engine.landmarker.detect(load(src))[0], engine.prepare(load(tgt))
"""
OPENS = "fetfast.Engine('flow_fp32').transfer(src, tgt)"
USES = ["engine.transfer(src, tgt)", "engine.landmarker.detect(load(src))", "engine.render(face, target)"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("parent", "children", "said"),
    [(USED, [OPENS, *USES], "refused"), ("from fetfast import engine, face", [OPENS], "worked")],
    ids=["used", "new"],
)
def test_a_forked_child_works_or_is_refused(parent, children, said):
    code = FORKED.format(demo=DEMO, parent=parent)
    done = subprocess.run([sys.executable, "-c", code, *children], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [said] * 2 * len(children), done.stderr


def test_the_limit_on_products_threads_is_restored():
    """Threads that compute at the same time leave the process's BLAS as it was."""
    pools = lambda: [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]  # noqa: E731
    points = np.random.default_rng(0).uniform(0.2, 0.8, (2, 1, 478, 2)).astype(np.float32)
    first_flow(*points, 64)
    before = pools()
    with ThreadPoolExecutor(THREADS) as pool:
        flows = list(pool.map(lambda _: first_flow(*points, 64), range(40)))
    assert pools() == before
    assert all(np.array_equal(flow, flows[0]) for flow in flows)

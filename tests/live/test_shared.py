"""Two loops that share one engine give what each gives alone."""

from threading import Thread

import numpy as np
from frames import Frames

from fetfast import Loop


def shown(engine, drivers, target):
    with Loop(engine, Frames(drivers), target) as loop:
        return [frame.copy() for frame, _ in loop]


def test_two_loops_share_an_engine(engine, renders):
    drivers = [np.roll(renders[i // 4 % 2], i, axis=1) for i in range(16)]
    targets = [renders[0], renders[1][20:]]
    alone = [shown(engine, drivers, target) for target in targets]
    together: list = [None, None]

    def run(i):
        together[i] = shown(engine, drivers, targets[i])

    threads = [Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)

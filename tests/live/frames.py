"""A source made of frames, and a file made of them."""

import time
from fractions import Fraction


class Frames:
    """A source made of frames at 25 a second. live: they come at that rate and wait for nobody."""

    name, time_base, sound, rate, decoder, count = "frames", Fraction(1, 25), None, Fraction(25), None, None

    def __init__(self, frames, live=False, trouble=None):
        self._frames, self.live, self.trouble, self.closed = frames, live, trouble, False

    def __iter__(self):
        begin = time.perf_counter()
        for i, frame in enumerate(self._frames):
            if self.live:
                time.sleep(max(begin + i / 25 - time.perf_counter(), 0))
            yield Fraction(i, 25), frame

    def close(self):
        self.closed = True


def write(path, frames):
    """An MPEG-4 file of frames u8 [360, 640, 3], of none too."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        container.start_encoding()
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))

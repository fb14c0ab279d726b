"""Clips as other programs and telephones make them: any codec, colour tags, sound and rotation."""

from fractions import Fraction

import numpy as np

QUARTERS = np.zeros((64, 96, 3), np.uint8)  # red, green / blue, grey
QUARTERS[:32, :48], QUARTERS[:32, 48:], QUARTERS[32:, :48] = (200, 30, 30), (30, 180, 30), (30, 30, 190)
QUARTERS[32:, 48:] = 128


def film(path, pictures, sound=None, rate=25):
    """A file of these pictures u8 [H, W, 3], with a tone, not written by us."""
    return raw(path, "libx264", len(pictures), rate=rate, sound=sound, picture=pictures, options={"crf": "14"})


def raw(path, codec="mpeg4", frames=10, pix_fmt="yuv420p", rate=25, sound=None, picture=QUARTERS, **context):
    """A file of `frames` times `picture`, or of as many pictures, not written by us."""
    import av

    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=rate)
        (video.height, video.width, _), video.pix_fmt = np.shape(picture)[-3:], pix_fmt
        for name, value in context.items():
            setattr(video.codec_context, name, value)
        if sound:
            audio = out.add_stream(sound, rate=48000, layout="mono")
        out.start_encoding()
        full, matrix = context.get("color_range", 1), context.get("colorspace", 5)
        for i in range(frames):
            shown = picture[i] if np.ndim(picture) == 4 else picture
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=full)
            frame.color_range, frame.colorspace, frame.pts = full, matrix, i
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound:
            tone = (8000 * np.sin(np.arange(48000 * frames // rate) / 20)).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            heard.sample_rate, heard.pts = 48000, 0
            out.mux(audio.encode(heard))
            out.mux(audio.encode(None))
    return path


def turn(path, quarters, mirror=False):
    """Has an MP4 shown turned counterclockwise, as a telephone does that was held upright, and then mirrored left to
    right, as its front camera does: by the matrix in the track's header."""
    a, b, c, d = {0: (1, 0, 0, 1), 1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[quarters]
    if mirror:
        a, c = -a, -c
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    content[place : place + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in matrix)
    path.write_bytes(content)
    return path


def beeps(path, codec="pcm_s16le", rate=48000, start=Fraction(1), at=(0.2, 0.7), frames=50, layout="mono"):
    """Two seconds of QUARTERS whose sound begins at `start`, seconds, and beeps 0.1 s long at these seconds of it."""
    import av

    samples = np.zeros((1 if layout == "mono" else 6, round(rate * (frames / 25 - float(start)))), np.float32)
    for second in at:
        tone = np.sin(2 * np.pi * 1000 * np.arange(rate // 10) / rate)
        samples[:, round(second * rate) :][:, : len(tone)] += 0.5 * tone
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        (video.height, video.width, _), video.pix_fmt = QUARTERS.shape, "yuv420p"
        audio = out.add_stream(codec, rate=rate, layout=layout)
        for i in range(frames):
            out.mux(video.encode(av.VideoFrame.from_ndarray(QUARTERS, format="rgb24")))
            piece = samples[:, i * rate // 25 :][:, : (i + 1) * rate // 25 - i * rate // 25]
            if piece.shape[1]:
                heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", layout)
                heard.sample_rate, heard.time_base = rate, Fraction(1, rate)
                heard.pts = round(start * rate) + i * rate // 25
                out.mux(audio.encode(heard))
        for stream in (video, audio):
            out.mux(stream.encode(None))
    return path


def onsets(path):
    """When beeps begin in a file, seconds after its first picture; [] without sound."""
    import av

    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        to_float = av.AudioResampler("fltp", "mono")
        parts = [part for frame in container.decode(audio=0) for part in to_float.resample(frame)]
    loud = [part.time + np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.1) / part.sample_rate for part in parts]
    times = np.concatenate(loud) - picture
    return [float(time) for time in times[np.diff(times, prepend=-1) > 0.15]]

"""A small RTSP server: one H.264 stream to one client at a time, RTP inside the RTSP connection (RFC 2326, 6184)."""

import base64
import socket
import struct
import threading
import time
from fractions import Fraction

import av

RATE, CLOCK, LARGEST = 25, 90000, 1400


def encoded(frames):
    """Each frame's H.264 units, without start codes."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = frames[0].shape[:2]
    codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, RATE), Fraction(RATE)
    codec.options = {"preset": "ultrafast", "tune": "zerolatency"}
    pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
    for i, picture in enumerate(pictures):
        picture.pts = i
    packets = [packet for picture in [*pictures, None] for packet in codec.encode(picture)]
    return [[unit for unit in bytes(p).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit] for p in packets]


def payloads(unit):
    """A unit as one RTP payload, or in fragments (FU-A)."""
    if len(unit) <= LARGEST:
        return [unit]
    head, body = unit[0], unit[1:]
    parts = [body[i : i + LARGEST] for i in range(0, len(body), LARGEST)]
    ends = [0x80, *[0] * (len(parts) - 2), 0x40]
    return [bytes([head & 0xE0 | 28, end | head & 0x1F]) + part for end, part in zip(ends, parts, strict=True)]


class Server:
    """Plays frames at 25 a second to whoever comes, again for each. Then, by `ending`: "bye" says so and hangs up,
    "cut" hangs up, "silence" sends nothing more. A context manager; `url` is where it plays."""

    sent = 0.0

    def __init__(self, frames, ending="bye"):
        self._units, self._ending = encoded(frames), ending
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/camera"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(timeout=5)

    def _serve(self):
        while not self._over.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                try:
                    self._talk(client)
                except OSError:  # the client has gone
                    continue

    def _talk(self, client):
        lines = client.makefile("rb")
        while request := lines.readline().decode():
            headers = {}
            while line := lines.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            method = request.split()[0]
            answer, body = self._answer(method)
            answer |= {"CSeq": headers["cseq"], "Session": "1", "Content-Length": str(len(body))}
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
            client.sendall(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
            if method == "PLAY":
                self._play(client)
                return

    def _answer(self, method):
        sets = ",".join(base64.b64encode(unit).decode() for unit in self._units[0] if unit[0] & 31 in (7, 8))
        described = (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n"
            f"a=rtpmap:96 H264/{CLOCK}\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n"
            "a=control:video\r\n"
        )
        return {
            "OPTIONS": ({"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}, ""),
            "DESCRIBE": ({"Content-Type": "application/sdp", "Content-Base": f"{self.url}/"}, described),
            "SETUP": ({"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}, ""),
        }.get(method, ({}, ""))

    def _play(self, client):
        begin, number = time.perf_counter(), 0
        self.sent = begin + (len(self._units) - 1) / RATE  # perf_counter, of the last frame
        for i, units in enumerate(self._units):
            time.sleep(max(begin + i / RATE - time.perf_counter(), 0))
            packets = [payload for unit in units for payload in payloads(unit)]
            for payload in packets:
                marker = 0x80 if payload is packets[-1] else 0
                rtp = struct.pack("!BBHII", 0x80, 96 | marker, number & 0xFFFF, i * CLOCK // RATE, 1) + payload
                client.sendall(struct.pack("!cBH", b"$", 0, len(rtp)) + rtp)
                number += 1
        if self._ending == "bye":
            goodbye = struct.pack("!BBHI", 0x81, 203, 1, 1)
            client.sendall(struct.pack("!cBH", b"$", 1, len(goodbye)) + goodbye)
        if self._ending == "silence":
            self._over.wait()

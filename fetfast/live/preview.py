"""The window of `fetfast live`, its keys, and the virtual camera."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fetfast.errors import BadInput, NoFace, Unavailable
from fetfast.image import Frame
from fetfast.live.loop import Loop
from fetfast.spec import REGIONS


class Controls:
    """What the keys do. `press` takes a key as its character; `lines` are what the window shows on top."""

    def __init__(self, loop: Loop, record_to: str) -> None:
        self._loop, self._record_to = loop, record_to
        self.side_by_side = self.helping = self.quitting = False
        self._said = "h: help"
        toggles = {str(i + 1): (f"{region} on or off", self._toggle(region)) for i, region in enumerate(REGIONS)}
        self._keys: dict[str, tuple[str, Callable[[], str]]] = {
            "c": ("calibrate: this is my resting face (relative mode)", self._calibrate),
            "+": ("more intensity", lambda: self._intensify(0.1)),
            "-": ("less intensity", lambda: self._intensify(-0.1)),
            **toggles,
            "s": ("driver and result side by side", self._side_by_side),
            "r": ("record, or end the recording", self._record),
            "h": ("this help", self._help),
            "q": ("quit", self._quit),
        }

    def press(self, key: str) -> None:
        """Unknown keys do nothing."""
        if key in self._keys:
            self._said = self._keys[key][1]()

    @property
    def lines(self) -> list[str]:
        stats, recording = self._loop.stats, self._loop.recording
        state = f"{stats.fps:.0f} frames/s" + (f"   recording, {recording.frames} frames" if recording else "")
        keys = [f"{key}   {about}" for key, (about, _) in self._keys.items()] if self.helping else []
        return [state, self._said, *keys]

    def _calibrate(self) -> str:
        self._loop.recalibrate()
        return "calibrated"

    def _intensify(self, by: float) -> str:
        self._loop.intensity = float(np.clip(round(self._loop.intensity + by, 1), 0, 2))
        return f"intensity {self._loop.intensity:.1f}"

    def _toggle(self, region: str) -> Callable[[], str]:
        def toggle() -> str:
            chosen = set(self._loop.regions) ^ {region}
            self._loop.regions = tuple(name for name in REGIONS if name in chosen)
            return f"{region} {'on' if region in chosen else 'off'}"

        return toggle

    def _side_by_side(self) -> str:
        self.side_by_side = not self.side_by_side
        return ""

    def _record(self) -> str:
        if self._loop.recording:
            self._loop.stop_recording()
            return f"recorded {self._record_to}"
        try:
            self._loop.record(self._record_to)
        except (BadInput, Unavailable) as error:
            return str(error)
        return f"recording to {self._record_to}"

    def _help(self) -> str:
        self.helping = not self.helping
        return ""

    def _quit(self) -> str:
        self.quitting = True
        return ""

    def replace_target(self, path: str) -> None:
        """What dropping a file onto the window does."""
        try:
            self._loop.target = path
            self._said = path
        except (BadInput, NoFace) as error:  # the old one stays
            self._said = str(error)


class Window:
    """A window that shows frames, by pygame. Raises Unavailable where there is no display."""

    def __init__(self, controls: Controls) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError:
            raise Unavailable('the preview needs pygame: pip install "fetfast[video]", or give --no-preview') from None
        self._pygame, self._controls = pygame, controls
        try:
            pygame.display.init()
            if pygame.display.get_driver() == "offscreen":
                raise pygame.error("SDL finds none")  # and would show to nobody
        except pygame.error as error:
            raise Unavailable(f"there is no display for a preview ({error}); give --no-preview") from None
        pygame.display.set_caption("fetfast")
        self._surface: Any = None
        self._size = (0, 0)  # of what is shown

    def show(self, frame: Frame, driver: Frame | None) -> None:
        """Shows a frame and hands the keys pressed to the controls."""
        pygame, controls = self._pygame, self._controls
        picture = beside(driver, frame) if controls.side_by_side and driver is not None else frame
        picture = written(picture, controls.lines)
        height, width = picture.shape[:2]
        if self._size != (width, height):
            self._size = width, height
            room = pygame.display.get_desktop_sizes()[0]
            scale = min(1.0, 0.9 * room[0] / width, 0.9 * room[1] / height)
            self._surface = pygame.display.set_mode((round(scale * width), round(scale * height)))
        image = pygame.image.frombuffer(picture, (width, height), "RGB")
        if self._surface.get_size() != (width, height):
            image = pygame.transform.smoothscale(image, self._surface.get_size())
        self._surface.blit(image, (0, 0))
        pygame.display.flip()
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                controls.press("q")
            elif event.type == pygame.KEYDOWN:
                controls.press(event.unicode)
            elif event.type == pygame.DROPFILE:
                controls.replace_target(event.file)

    def close(self) -> None:
        self._pygame.display.quit()


class VirtualCamera:
    """A camera that other programs see, by pyvirtualcam. Raises Unavailable where the system has none."""

    def __init__(self, frame: Frame, rate: float) -> None:
        try:
            import pyvirtualcam
        except ImportError:
            raise Unavailable('a virtual camera needs pyvirtualcam: pip install "fetfast[video]"') from None
        height, width = frame.shape[:2]
        try:
            self._camera = pyvirtualcam.Camera(width=width, height=height, fps=rate)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise Unavailable(f"no virtual camera ({reason}); docs/live.md says what to install") from None
        self.name = self._camera.device
        self._size = width, height

    def send(self, frame: Frame) -> None:
        """A frame of another size, after the target was replaced, is fitted into the camera's."""
        if frame.shape[1::-1] != self._size:
            from PIL import Image, ImageOps

            frame = np.asarray(ImageOps.pad(Image.fromarray(frame), self._size))
        self._camera.send(np.ascontiguousarray(frame))

    def close(self) -> None:
        self._camera.close()


def beside(driver: Frame, frame: Frame) -> Frame:
    """The driver, scaled to the frame's height, to its left."""
    from PIL import Image

    height = frame.shape[0]
    width = max(round(driver.shape[1] * height / driver.shape[0]), 1)
    scaled = Image.fromarray(driver).resize((width, height), Image.Resampling.BILINEAR)
    return np.concatenate([np.asarray(scaled), frame], axis=1)


def written(frame: Frame, lines: list[str]) -> Frame:
    """A copy of the frame with lines of text at its top left."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(frame)
    size = max(frame.shape[0] / 40, 11)
    ImageDraw.Draw(picture).multiline_text(
        (size / 2, size / 2),
        "\n".join(filter(None, lines)),
        "white",
        font_size=size,
        stroke_width=1,
        stroke_fill="black",
    )
    return np.array(picture)

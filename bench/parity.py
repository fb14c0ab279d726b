"""Face models against the original: our Landmarker beside MediaPipe's Face Landmarker, over a folder of portraits, each
shown to it as the frames of a stream are: read where the landmarks before lie, as ours is, until its smoothing is over.

    python bench/parity.py dump PORTRAITS FILE.npz     where mediapipe is installed (fetfast need not be)
    python bench/parity.py compare PORTRAITS FILE.npz [OUT.json]  where fetfast is

`make parity` does both, and writes bench/results/parity.json. Bars: landmarks within 1.0 % of the interocular distance,
blendshapes within 0.03, in the mean.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image

IRIS_CENTRES = (468, 473)
SHOWN = 40
LANDMARK_BAR, BLENDSHAPE_BAR = 1.0, 0.03


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {p.stem: np.asarray(Image.open(p).convert("RGB")) for p in sorted(folder.glob("*.jpg"))}


def dump(portraits: Path, out: Path, task: Path) -> None:
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(task)),
        output_face_blendshapes=True,
        running_mode=vision.RunningMode.VIDEO,
        num_faces=1,  # with more it never reads where the landmarks lie
    )
    found = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        time = itertools.count(1)
        for name, frame in pictures(portraits).items():
            for shown in (np.zeros_like(frame), *[frame] * SHOWN):  # no face: the portrait before is forgotten
                picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(shown))
                result = landmarker.detect_for_video(picture, next(time) * 33)
            height, width = frame.shape[:2]
            points = [(p.x * width, p.y * height, p.z * width) for p in result.face_landmarks[0]]
            found[f"{name}/landmarks"] = np.array(points, np.float32)
            found[f"{name}/blendshapes"] = np.array([c.score for c in result.face_blendshapes[0]], np.float32)
    out.parent.mkdir(exist_ok=True)
    np.savez(out, version=mp.__version__, **found)


def compare(portraits: Path, file: Path, out: Path | None) -> bool:
    from fetfast.environment import machine
    from fetfast.face import Landmarker
    from fetfast.files import write_json

    landmarker = Landmarker()
    with np.load(file, allow_pickle=False) as theirs:
        rows = []
        for name, frame in pictures(portraits).items():
            face = landmarker.detect(frame)[0]
            wanted = theirs[f"{name}/landmarks"]
            interocular = np.linalg.norm(np.subtract(*wanted[list(IRIS_CENTRES), :2]))
            off = np.linalg.norm(face.landmarks[:, :2] - wanted[:, :2], axis=1).mean() / interocular * 100
            rows.append((name, off, np.abs(face.blendshapes - theirs[f"{name}/blendshapes"]).mean()))
        version = theirs["version"]
    good, about = True, []
    for title, column, bar, unit in (
        ("landmarks, % of the interocular distance", 1, LANDMARK_BAR, "%"),
        ("blendshapes, mean absolute", 2, BLENDSHAPE_BAR, ""),
    ):
        values = np.array([row[column] for row in rows])
        worst = ", ".join(f"{row[0]} {row[column]:.3f}" for row in sorted(rows, key=lambda row: -row[column])[:3])
        print(
            f"{title}: mean {values.mean():.3f}{unit}  p95 {np.percentile(values, 95):.3f}  (bar {bar}); worst {worst}"
        )
        good &= bool(values.mean() <= bar)
        about.append(
            {"case": title, "way": "ours", "mean": float(values.mean()), "p95": float(np.percentile(values, 95))}
        )
    print(f"{len(rows)} portraits, mediapipe {version}: {'within the bars' if good else 'A BAR IS MISSED'}")
    if out:
        figures = {"suite": "parity", "machine": machine(), "portraits": len(rows), "mediapipe": str(version)}
        write_json(out, figures | {"rows": about})
    return good


if __name__ == "__main__":
    what, portraits, file, *more = sys.argv[1:]
    if what == "dump":
        dump(Path(portraits), Path(file), Path(more[0]))
    elif not compare(Path(portraits), Path(file), Path(more[0]) if more else None):
        sys.exit(1)

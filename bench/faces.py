"""How many faces are found, and stood on their feet, in portraits that are turned: bench/faces.py [FOLDER] [--every N].

A face is found right side up where its eyes lie within 45 degrees of where the picture's turn puts those of the upright
portrait; elsewhere it would be given a mouth on its forehead. Prints a table, and writes it with --json.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from fetfast import image
from fetfast.evaluate.data import photos
from fetfast.face import Face, Landmarker
from fetfast.face.landmarks import EYE_CORNERS
from fetfast.files import write_json

DATA = Path(os.environ.get("FETFAST_DATA") or Path(__file__).parents[2] / "shared" / "data")
SETS = ("portraits", "synthetic", "london")


def angle(face: Face) -> float:
    """Degrees by which the line from the right eye to the left one is turned from level, clockwise."""
    right, left = face.landmarks[list(EYE_CORNERS), :2]
    return float(np.degrees(np.arctan2(*(left - right)[::-1])))


def measure(folder: Path, every: int) -> list[dict[str, float | str]]:
    """A row for each quarter of a turn, clockwise: shares found and right side up, milliseconds a picture."""
    landmarker, rows = Landmarker(), []
    frames = [image.load(path) for path in photos(folder)[::every]]
    upright = [landmarker.detect(frame) for frame in frames]
    for quarters in range(4):
        found, right, begin = 0, 0, time.perf_counter()
        for frame, known in zip(frames, upright, strict=True):
            faces = landmarker.detect(np.rot90(frame, -quarters))
            found += bool(faces)
            if faces and known:
                off = angle(faces[0]) - angle(known[0]) - 90 * quarters
                right += abs((off + 180) % 360 - 180) < 45
        took = (time.perf_counter() - begin) / len(frames)
        shares = {"found": found / len(frames), "right": right / len(frames)}
        rows.append({"set": folder.name, "turn": 90 * quarters, "pictures": len(frames), **shares, "ms": 1e3 * took})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="portraits; the shared sets if not given")
    parser.add_argument("--every", type=int, default=1, help="take each Nth picture")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for folder in [options.folder] if options.folder else [DATA / name for name in SETS]:
        for row in measure(folder, options.every):
            rows.append(row)
            print("{set:<12}{turn:>4} deg  {pictures:>4} pictures  found {found:6.1%}  right side up {right:6.1%}"
                  "  {ms:5.0f} ms".format(**row), flush=True)  # fmt: skip
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()

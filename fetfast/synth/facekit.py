"""The morphable model that training pictures are made of: ICT-FaceKit (Li et al. 2020, MIT licence).

A face is `neutral + identity @ identities + expression @ expressions`: 100 identity modes ~ N(0, 1), 53 expression
modes in 0 ... 1 with ARKit's names. Units are cm; x is the subject's left, y up, z out of the face.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetfast.errors import BadInput, MissingAsset
from fetfast.spec import BLENDSHAPES, LANDMARKS

HANG = 0.35  # cm: people's teeth hang lower than this model's (`fetfast make teeth --portraits FOLDER`)
# Shells that only a path tracer can use: fluids, occlusion cards, and the sclera round the eyeballs that we paint.
DROPPED = ("M_EyeBlend", "M_EyeOcclusion", "M_LacrimalFluid", "M_ScleraLeft", "M_ScleraRight")
# ICT-FaceKit's README: the vertex ranges of the parts that share a material.
SOCKETS = {"mouth": (11248, 13294), "eye_left": (13294, 13678), "eye_right": (13678, 14062)}


@dataclass(frozen=True)
class Facekit:
    """The model, triangulated, without the shells that a z-buffer cannot show.

    neutral f32 [N, 3] cm, expressions f32 [53, N, 3], identities f32 [100, N, 3], triangles i32 [T, 3]
    counter-clockwise from outside, uv f32 [N, 2], `part` u8 [N] and `triangle_part` u8 [T]: index into `part_names`.
    landmark_vertices i32 [478]: the vertex that lies at each of Face Landmarker's points, -1 for the ten iris points.
    """

    neutral: np.ndarray
    expressions: np.ndarray
    identities: np.ndarray
    expression_names: tuple[str, ...]
    triangles: np.ndarray
    uv: np.ndarray
    part: np.ndarray
    triangle_part: np.ndarray
    part_names: tuple[str, ...]
    landmark_vertices: np.ndarray

    @classmethod
    def open(cls, path: str | Path) -> Facekit:
        """Read the packed npz, or ICT-FaceKit's own folder of .obj files.

        The table `facemesh_to_ict.npz` (landmark -> vertex) must lie beside the npz or in the folder.
        Raises MissingAsset where a file is absent and BadInput where it is not what it should be.
        """
        path = Path(path)
        if path.is_dir():
            raw = read_folder(path)
            table = path / "facemesh_to_ict.npz"
        elif path.is_file():
            with np.load(path, allow_pickle=False) as archive:
                raw = {name: archive[name] for name in archive.files}
            table = path.with_name("facemesh_to_ict.npz")
        else:
            raise MissingAsset(f"Facekit.open(): no file or folder at {path}; give ICT-FaceKit's folder or the npz")
        if not table.is_file():
            raise MissingAsset(f"Facekit.open(): {table.name} is missing in {table.parent}; put it there")
        with np.load(table, allow_pickle=False) as archive:
            landmark, vertex = archive["landmark"], archive["vertex"]
        needed = {"neutral", "expr", "ident", "expr_names", "faces", "faces_uv", "uv", "mat", "mat_names"}
        if missing := needed - raw.keys():
            raise BadInput(f"Facekit.open(): {path.name} lacks {sorted(missing)}; is it ICT-FaceKit?")
        return build(raw, landmark, vertex)

    def shape(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Vertices f32 [N, 3] for identity coefficients [<= 100] and expression coefficients [53]."""
        modes = self.identities[: len(identity)]
        return self.express(self.neutral + np.tensordot(identity.astype(np.float32), modes, 1), expression)

    def express(self, shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """`shape` [N, 3] wearing expression coefficients [53]; only modes in use are read."""
        used = np.flatnonzero(expression)
        return shape + np.tensordot(np.asarray(expression, np.float32)[used], self.expressions[used], 1)

    def index(self, *names: str) -> np.ndarray:
        """Positions of expression modes by ARKit stem: `browDown` finds both sides, `browDown_L` one."""
        found = [i for i, n in enumerate(self.expression_names) if n in names or n.split("_")[0] in names]
        return np.array(found, int)

    @property
    def to_blendshapes(self) -> np.ndarray:
        """f32 [53, 52]: exact coefficients @ this = Face Landmarker's blendshapes (sides it joins are averaged)."""
        matrix = np.zeros((len(self.expression_names), len(BLENDSHAPES)), np.float32)
        for row, name in enumerate(self.expression_names):
            stem, _, side = name.partition("_")
            full = stem + {"L": "Left", "R": "Right", "": ""}[side]
            matrix[row, BLENDSHAPES.index(full if full in BLENDSHAPES else stem)] = 1
        return matrix / np.maximum(matrix.sum(0), 1)

    def parts(self, *names: str) -> np.ndarray:
        """bool [N]: vertices that belong to the parts named."""
        return np.isin(self.part, [self.part_names.index(n) for n in names])


def build(raw: dict[str, np.ndarray], landmark: np.ndarray, vertex: np.ndarray) -> Facekit:
    """Triangulate, drop the shells, give every vertex one part and one uv."""
    faces, faces_uv, names = raw["faces"], raw["faces_uv"], [str(n) for n in raw["mat_names"]]
    kept = ~np.isin(raw["mat"], [i for i, n in enumerate(names) if n in DROPPED])
    faces, faces_uv, mat = faces[kept], faces_uv[kept], raw["mat"][kept]
    if faces.max() >= len(raw["neutral"]) or raw["expr"].shape[1:] != raw["neutral"].shape:
        raise BadInput("Facekit.open(): faces and vertices do not belong together; pack the model again")

    quads = faces[:, 3] >= 0
    triangles = np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]])
    corners = np.concatenate([faces_uv[:, :3], faces_uv[quads][:, [0, 2, 3]]])
    materials = np.concatenate([mat, mat[quads]]).astype(np.uint8)

    uv = np.zeros((len(raw["neutral"]), 2), np.float32)
    uv[triangles] = raw["uv"][corners]
    part_names = [n.removeprefix("M_") for n in names]
    for name, (first, last) in SOCKETS.items():
        materials[((triangles >= first) & (triangles < last)).all(1)] = len(part_names)
        part_names.append(f"Socket_{name}")
    part = np.zeros(len(uv), np.uint8)
    part[triangles] = materials[:, None]
    face = part_names.index("Face")
    part[triangles[materials == face]] = face  # a vertex on the border belongs to the face

    used = np.unique(triangles)
    compact = np.full(len(uv), -1, np.int32)
    compact[used] = np.arange(len(used))
    landmarks = np.full(LANDMARKS, -1, np.int32)
    landmarks[landmark] = compact[vertex]
    neutral = raw["neutral"][used].astype(np.float32)
    neutral[np.isin(part[used], [part_names.index(name) for name in ("Teeth", "GumsTongue")]), 1] -= HANG
    mirror_missing(landmarks, neutral)
    return Facekit(
        neutral=neutral,
        expressions=raw["expr"][:, used].astype(np.float32),
        identities=raw["ident"][:, used].astype(np.float32),
        expression_names=tuple(str(n) for n in raw["expr_names"]),
        triangles=np.ascontiguousarray(compact[triangles], dtype=np.int32),
        uv=uv[used],
        part=part[used],
        triangle_part=materials,
        part_names=tuple(part_names),
        landmark_vertices=landmarks,
    )


def mirror_missing(landmarks: np.ndarray, neutral: np.ndarray) -> None:
    """Points 323, 361 and 454 have no measured vertex: take the mirror image of 93, 132 and 234."""
    for right, left in ((93, 323), (132, 361), (234, 454)):
        if landmarks[left] < 0 <= landmarks[right]:
            mirrored = neutral[landmarks[right]] * (-1, 1, 1)
            landmarks[left] = np.argmin(((neutral - mirrored) ** 2).sum(1))


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """ICT-FaceKit's folder (or its FaceXModel): generic_neutral_mesh.obj, identityNNN.obj, one .obj a mode."""
    model = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral_file = model / "generic_neutral_mesh.obj"
    if not neutral_file.is_file():
        raise MissingAsset(f"Facekit.open(): no generic_neutral_mesh.obj in {model}; give ICT-FaceKit's folder")
    mesh = read_obj(neutral_file)
    settings = model / "vertex_indices.json"
    names = json.loads(settings.read_text()).get("expressions") if settings.is_file() else None
    skip = ("generic_neutral_mesh", "identity")
    names = names or sorted(p.stem for p in model.glob("*.obj") if not p.stem.startswith(skip))
    identities = sorted(model.glob("identity*.obj"))
    mesh["expr_names"] = np.array(names)
    mesh["expr"] = np.stack([read_obj(model / f"{n}.obj")["neutral"] - mesh["neutral"] for n in names])
    mesh["ident"] = np.stack([read_obj(p)["neutral"] - mesh["neutral"] for p in identities])
    return mesh


def read_obj(path: Path) -> dict[str, np.ndarray]:
    """Vertices, texture points and quads (fourth corner -1: a triangle) of a Wavefront file."""
    vertices, points, faces, faces_uv, materials, names = [], [], [], [], [], ["none"]
    material = 0
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            points.append([float(x) for x in rest[:2]])
        elif word == "usemtl":
            if rest[0] not in names:
                names.append(rest[0])
            material = names.index(rest[0])
        elif word == "f":
            corners = [[int(i) - 1 for i in corner.split("/")[:2]] for corner in rest]
            corners += [[-1, -1]] * (4 - len(corners))
            faces.append([c[0] for c in corners])
            faces_uv.append([c[-1] if len(c) > 1 else 0 for c in corners])
            materials.append(material)
    return {
        "neutral": np.array(vertices, np.float32),
        "uv": np.array(points or [[0, 0]], np.float32),
        "faces": np.array(faces, np.int32),
        "faces_uv": np.array(faces_uv, np.int32),
        "mat": np.array(materials, np.uint8),
        "mat_names": np.array(names),
    }

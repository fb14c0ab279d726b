"""How each family is trained: a recipe for each of its stages, in the order in which they are trained.

A recipe says what a batch is, what is minimised, what is measured on persons never trained on, and how long.
`loop.py` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.layers import upsample
from fetfast.ops.topology import EYES, IRISES, LIPS
from fetfast.plan import SHIPPED, Plan
from fetfast.spec import LANDMARKS, Stage
from fetfast.train import data, losses

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """stage: the network trained. batch: how `data` makes one, of `count` rows.

    loss(module, stage, batch, critic or None) -> the terms to minimise, already weighted, and for the critic (real,
    fake) or None. measure(module, stage, batch) -> figures, each f32 [B], of rows held out. sheet(module, stage,
    batch) -> pictures [B, 3, S, S] by name, or None where there is nothing to see. start(module): its weights before
    training, where random ones are not the best. critic() makes the adversary; it joins after `critic_after` of the
    steps.
    """

    stage: str
    batch: Callable[..., Batch]
    count: int
    steps: int
    rate: float
    loss: Callable[..., tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]]
    measure: Callable[[nn.Module, Stage, Batch], dict[str, Tensor]]
    sheet: Callable[[nn.Module, Stage, Batch], dict[str, Tensor]] | None = None
    start: Callable[[nn.Module], None] | None = None
    critic: Callable[[], nn.Module] | None = None
    critic_after: float = 0.5


def run(module: nn.Module, stage: Stage, batch: Batch) -> dict[str, Tensor]:
    """The stage's outputs, f32."""
    out = module(**{tensor.name: batch[tensor.name] for tensor in stage.inputs})
    return {name: tensor.float() for name, tensor in out.items()}


def coarse(out: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The outputs as the truth has them: averaged down, where they are finer."""
    return {name: losses.coarse(tensor, size) for name, tensor in out.items()}


# The fuse stage: driven landmarks.


def point_errors(fused: Tensor, driven: Tensor) -> Tensor:
    """[B, 478] distances, crop units."""
    return (fused - driven).square().sum(-1).add(1e-10).sqrt()


def fuse_loss(module: nn.Module, stage: Stage, batch: Batch, _: Any) -> tuple[dict[str, Tensor], None]:
    error = point_errors(run(module, stage, batch)["fused_points"], batch["driven_points"])
    parts = [error[:, list(part)].mean() * amount for part, amount in (*losses.PARTS, (IRISES, 4.0))]
    return {"skin": 100 * error.mean(), "parts": 20 * sum(parts, error.new_zeros(()))}, None


def fuse_figures(module: nn.Module, stage: Stage, batch: Batch) -> dict[str, Tensor]:
    """Mean error over the landmarks, in thousandths of the crop's side: of doing nothing, and of the stage."""
    fused = run(module, stage, batch)["fused_points"]
    errors = {"still": point_errors(batch["target_points"], batch["driven_points"])}
    errors["fused"] = point_errors(fused, batch["driven_points"])
    rows = {"": range(LANDMARKS), "_lips": LIPS, "_eyes": EYES, "_irises": IRISES}
    return {name + part: 1000 * e[:, list(row)].mean(1) for name, e in errors.items() for part, row in rows.items()}


def linear_start(module: nn.Module) -> None:
    """The fusion starts as family `flow`'s: the morphable model's own basis and camera."""
    weights = Plan.open(SHIPPED / "flow_fp32.plan").stage_weights("fuse")
    module.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()}, strict=False)


# The U-Net: the picture.


def picture_loss(
    module: nn.Module, stage: Stage, batch: Batch, critic: nn.Module | None
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    out = run(module, stage, batch)
    truth, points = batch["truth"], batch["driven_points"]
    size = truth.shape[-1]
    lit, fine = losses.compose(batch["picture"], out)
    moved, result, out = losses.coarse(lit, size), losses.coarse(fine, size), coarse(out, size)
    inside = losses.between_lips(points, size)
    parts, teeth = losses.parts(points, inside), losses.TEETH * inside
    weight = losses.importance(points, parts)
    real, fake = losses.patches(batch["truth_fine"], points), losses.patches(fine, points)
    one = torch.ones_like(fake[:, :1])
    terms = {
        "l1": 10 * losses.l1(result, truth, weight, teeth),
        "ssim": 20 * losses.ssim(result, truth, weight),
        "gradients": 10 * losses.gradients(fine, batch["truth_fine"], upsample(weight)),
        "details": 3 * losses.l1(fake, real, one) + 6 * losses.gradients(fake, real, one),  # sharp as the frame
        "beneath": 3 * losses.l1(moved, truth, weight),  # flow and light learn where the mask hides them too
        "above": 2 * losses.l1(out["color"], truth, parts, teeth),  # and the colour where it may have to be seen
        "closed": 8 * (out["mask"] * (1 - parts).clamp(min=0)).mean(),  # elsewhere colours are softer than pixels
        "smooth": 2 * losses.smoothness(out["flow"], batch.get("first_flow", out["flow"])),
    }
    even = 1 + parts.clamp(max=losses.MOVED)  # what surrounds a face goes with it
    if "flow" in batch:
        terms["motion"] = 10 * losses.motion(out["flow"], batch["flow"], even).mean()
    if "light" in batch and "light" in out:
        terms["light"] = losses.relighting(out["light"], batch["light"], even)
    if critic is None:
        return terms, None
    terms["critic"] = -0.1 * critic(fake).mean()
    return terms, (real, fake)


def picture_figures(module: nn.Module, stage: Stage, batch: Batch) -> dict[str, Tensor]:
    """PSNR in dB and SSIM within the face's box: of the target as it is, of the landmarks' warp, of the network's
    flow and light alone and of its result; PSNR within the mouth's box; and, where the true flow is known, by how many
    pixels of a crop at 128 the landmarks' and the network's miss it on the face (root mean square)."""
    out, truth = run(module, stage, batch), batch["truth"]
    moved = coarse(out, truth.shape[-1])["flow"]
    lit, result = (losses.coarse(picture, truth.shape[-1]) for picture in losses.compose(batch["picture"], out))
    shown = {"copy": batch["target"], "warp": batch["warped"], "lit": lit, "net": result}
    figures = {}
    for name, picture in shown.items():
        figures[name] = losses.psnr(picture, truth, batch["driven_points"])
        figures[f"{name}_ssim"] = losses.box_ssim(picture, truth, batch["driven_points"])
        figures[f"{name}_mouth"] = losses.psnr(picture, truth, batch["driven_points"][:, list(losses.PARTS[0][0])])
    if "flow" in batch:
        face = losses.ellipse(batch["driven_points"], truth.shape[-1])
        for name, flow in (("warp", batch["first_flow"]), ("net", moved)):
            figures[f"{name}_motion"] = losses.motion(flow, batch["flow"], face).sqrt()
    return figures


def picture_sheet(module: nn.Module, stage: Stage, batch: Batch) -> dict[str, Tensor]:
    out = run(module, stage, batch)
    lit, result = losses.compose(batch["picture"], out)
    drawn = {
        "target": batch["target"], "landmarks' warp": batch["warped"], "flow and light": lit, "result": result,
        "truth": batch["truth_fine"], "light": 2 * out.get("light", 0 * out["mask"]), "mask": 2 * out["mask"] - 1,
        "color": out["color"],
    }  # fmt: skip
    return {
        name: losses.coarse(picture, batch["target"].shape[-1]).expand(-1, 3, -1, -1) for name, picture in drawn.items()
    }


FUSE = Recipe(
    "fuse", data.expressions, count=256, steps=3000, rate=1e-3, loss=fuse_loss, measure=fuse_figures, start=linear_start
)
UNET = Recipe(
    "unet", data.pictures, count=8, steps=20_000, rate=2e-3, loss=picture_loss, measure=picture_figures,
    sheet=picture_sheet, critic=losses.Critic, critic_after=0.6,
)  # fmt: skip

RECIPES: dict[tuple[str, str], tuple[Recipe, ...]] = {  # family, size row
    ("unet", "small"): (FUSE, UNET),
    ("unet", "rgb"): (FUSE, UNET),
}

"""Family `unet`: the picture, on landmarks that are solved for (`train/retarget.py`), with a discriminator that looks
at mouth and eyes closely."""

from __future__ import annotations

import torch
from torch import Tensor

from fetfast.models.layers import upsample
from fetfast.plan import SHIPPED, Plan
from fetfast.spec import Spec
from fetfast.train import batches
from fetfast.train.discriminators import CLOSE_UP, PatchGAN
from fetfast.train.losses import adversarial, faces, flows, pictures
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

PICTURE_WEIGHTS = {
    "l1": 10,
    "ssim": 20,
    "gradients": 10,
    "patches": 3,  # mouth and eyes, sharp as the frame
    "patch_gradients": 6,
    "beneath": 3,  # flow and light learn where the mask hides them too,
    "above": 2,  # and the colour where it may have to be seen
    "closed": 8,  # elsewhere colours are softer than pixels
    "smooth": 2,
    "motion": 10,
    "light": 1,
    "adversarial": 0.1,
}


def solved_start(networks: Networks) -> None:
    """The landmarks move as in the plan that ships: `fetfast make retarget` has solved for them."""
    weights = Plan.open(SHIPPED / "unet_fp16.plan").stage_weights("fuse")
    networks["fuse"].load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})


def picture_loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    out = outputs(networks, spec, "unet", batch)
    truth, points = batch["truth"], batch["driven_points"]
    size = truth.shape[-1]
    lit, fine = flows.composite(batch["picture"], out)
    moved, result = flows.coarse(lit, size), flows.coarse(fine, size)
    out = {name: flows.coarse(tensor, size) for name, tensor in out.items()}
    inside = faces.between_lips(points, size)
    parts, teeth = faces.parts(points, inside), faces.TEETH * inside
    weight = faces.importance(points, parts)
    real, fake = faces.patches(batch["truth_fine"], points), faces.patches(fine, points)
    one = torch.ones_like(fake[:, :1])
    terms = {
        "l1": pictures.l1(result, truth, weight, teeth),
        "ssim": pictures.ssim(result, truth, weight),
        "gradients": pictures.gradients(fine, batch["truth_fine"], upsample(weight)),
        "patches": pictures.l1(fake, real, one),
        "patch_gradients": pictures.gradients(fake, real, one),
        "beneath": pictures.l1(moved, truth, weight),
        "above": pictures.l1(out["color"], truth, parts, teeth),
        "closed": (out["mask"] * (1 - parts).clamp(min=0)).mean(),
        "smooth": flows.smoothness(out["flow"], batch.get("first_flow", out["flow"])),
    }
    even = 1 + parts.clamp(max=faces.MOVED)  # what surrounds a face goes with it
    if "flow" in batch:
        terms["motion"] = flows.motion(out["flow"], batch["flow"], even).mean()
    if "light" in batch and "light" in out:
        terms["light"] = flows.relighting(out["light"], batch["light"], even)
    if "discriminator" in networks:
        terms["adversarial"] = adversarial.hinge_generator(networks["discriminator"](fake))
    return terms, {"real_patches": real, "fake_patches": fake}


def discriminator_loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    real, fake = (networks["discriminator"](batch[name]) for name in ("real_patches", "fake_patches"))
    return {"discriminator": adversarial.hinge_discriminator(real, fake)}, {}


def picture_figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    """PSNR in dB and SSIM within the face's box: of the target as it is, of the landmarks' warp, of the network's
    flow and light alone and of its result; PSNR within the mouth's box; and, where the true flow is known, by how many
    pixels of a crop at 128 the landmarks' and the network's miss it on the face (root mean square)."""
    out, truth, points = outputs(networks, spec, "unet", batch), batch["truth"], batch["driven_points"]
    size = truth.shape[-1]
    lit, result = (flows.coarse(picture, size) for picture in flows.composite(batch["picture"], out))
    shown = {"copy": batch["target"], "warp": batch["warped"], "lit": lit, "net": result}
    figures = {}
    for name, picture in shown.items():
        figures[name] = pictures.psnr(picture, truth, points)
        figures[f"{name}_ssim"] = pictures.box_ssim(picture, truth, points)
        figures[f"{name}_mouth"] = pictures.psnr(picture, truth, points[:, list(faces.PARTS[0][0])])
    if "flow" in batch:
        face = faces.ellipse(points, size)
        for name, flow in (("warp", batch["first_flow"]), ("net", flows.coarse(out["flow"], size))):
            figures[f"{name}_motion"] = flows.motion(flow, batch["flow"], face).sqrt()
    return figures


def picture_sheet(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    out = outputs(networks, spec, "unet", batch)
    lit, result = flows.composite(batch["picture"], out)
    drawn = {
        "target": batch["target"], "landmarks' warp": batch["warped"], "flow and light": lit, "result": result,
        "truth": batch["truth_fine"], "light": 2 * out.get("light", 0 * out["mask"]), "mask": 2 * out["mask"] - 1,
        "color": out["color"],
    }  # fmt: skip
    size = batch["target"].shape[-1]
    return {name: flows.coarse(picture, size).expand(-1, 3, -1, -1) for name, picture in drawn.items()}


PICTURE = Recipe(
    "unet", ("fuse", "unet"), batches.pictures, count=8, steps=20_000, measure=picture_figures, sheet=picture_sheet,
    start=solved_start,
    updates=(
        Update({"unet": 2e-3}, picture_loss, PICTURE_WEIGHTS, weight_decay=1e-4),
        Update({"discriminator": 2e-3}, discriminator_loss, {"discriminator": 1}, betas=(0.5, 0.99), after=0.6),
    ),
    helpers={"discriminator": lambda: PatchGAN(CLOSE_UP)},
)  # fmt: skip

RECIPES: dict[str, tuple[Recipe, ...]] = {"small": (PICTURE,), "rgb": (PICTURE,)}

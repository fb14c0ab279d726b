"""What training minimises, each term written once, and what it measures as it goes.

Pictures are f32 [B, 3, S, S] in -1 ... 1, flows [B, 2, S, S] backward offsets in crop sides, points [B, 478, 2] in
crop units. No loss needs a downloaded network: structure is compared by SSIM and by gradients, texture by a
discriminator that is trained alongside. How much each term counts stands in the recipes.
"""

"""Start values that make a softplus network the signed distance of a sphere (Atzmon & Lipman, SAL, CVPR 2020)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import nn

SOFTPLUS_BETA = 100.0
"""Sharpness of the softplus of signed-distance networks."""


@torch.no_grad()
def initialise_as_sphere(layers: Sequence[nn.Linear], in_dim: int, skip_layers: Collection[int], radius: float) -> None:
    """Overwrites the parameters of a network whose output 0 then is about ``|x| - radius``.

    Every input column of the first and of the skip layers that carries more than the raw coordinates starts at zero,
    so an encoding is silent at first, whatever it is.

    Args:
        layers: First to last.
        in_dim: Width of the encoded point; its first three columns are the raw coordinates.
        skip_layers: Layers whose input is ``[hidden, encoded point]``.
        radius: Of the sphere, in the unit of the coordinates; the true zero set is somewhat smaller, because softplus
            is not zero at zero.
    """
    for index, layer in enumerate(layers):
        out_dim, layer_in_dim = layer.weight.shape
        layer.bias.zero_()
        if index == len(layers) - 1:
            layer.weight.normal_(math.sqrt(math.pi) / math.sqrt(layer_in_dim), 1e-4)
            layer.bias.fill_(-radius)
            continue
        layer.weight.normal_(0.0, math.sqrt(2) / math.sqrt(out_dim))
        if index == 0:
            layer.weight[:, 3:] = 0
        elif index in skip_layers:
            layer.weight[:, layer_in_dim - in_dim + 3 :] = 0

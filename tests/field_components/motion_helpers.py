"""Small contexts for tests of warps and ambient networks."""

import torch

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.motion_context import MotionContext


def context(
    num_groups: int = 3, code_dim: int = 8, alpha: float = 1.0, dtype: torch.dtype = torch.float32
) -> MotionContext:
    codes = torch.randn(num_groups, code_dim, generator=torch.Generator().manual_seed(1)).to(dtype)
    return MotionContext(FrameBatch.from_ids(torch.arange(num_groups)), torch.tensor(alpha), codes)


def grouped_points(num_groups: int = 3, num_points: int = 7) -> torch.Tensor:
    return torch.rand(num_groups, num_points, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1


def perturb(module: torch.nn.Module, scale: float = 0.2) -> None:
    """Moves every parameter off its start, where zero layers would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))

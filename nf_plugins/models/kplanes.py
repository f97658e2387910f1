"""K-Planes: dynamic scenes whose density and colours both lie on feature planes.

The default is what Im4D is compared with: its geometry, with colours from the planes too in place of source images. The
hybrid and explicit models are those of Fridovich-Keil et al. (*K-Planes*, CVPR 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn
from torch.nn import Parameter

from nf_plugins.errors import InputError
from nf_plugins.fields.plane_radiance_field import Decoder, PlaneRadianceField
from nf_plugins.models.im4d_options import check_counts
from nf_plugins.models.plane_model import FieldSamples, PlaneModel
from nf_plugins.models.plane_options import PlaneModelConfig


@dataclass
class KPlanesModelConfig(PlaneModelConfig):
    """K-Planes; the defaults are those that Im4D is compared with."""

    _target: type = field(default_factory=lambda: KPlanesModel)
    """Target class to instantiate."""
    decoder: Decoder = "trunk"
    """What turns features into density and colour: Im4D's network with a head for colours (trunk), two small networks
    (hybrid), or a linear density and a learnt basis of colours (explicit)."""
    num_proposal_samples: tuple[int, ...] = (64,)
    """Intervals of a ray in which each proposal density is asked. With one number all scales of the proposal make one
    density; with more each scale makes a density of its own, from coarse to fine."""


class KPlanesModel(PlaneModel):
    """Density and colour on feature planes."""

    config: KPlanesModelConfig
    field: PlaneRadianceField

    def build_fields(self) -> None:
        """The field and its proposals.

        Raises:
            InputError: Scales of the proposal and numbers of intervals do not fit.
        """
        config, counts = self.config, tuple(self.config.num_proposal_samples)
        scales = config.proposal.scales
        if not counts or (len(counts) > 1 and len(counts) != len(scales)):
            raise InputError(
                f"--pipeline.model.num-proposal-samples has {len(counts)} numbers and --pipeline.model.proposal.scales "
                f"{len(scales)}: expected one number, or one for each scale."
            )
        check_counts({"num-proposal-samples": min(counts)})
        self.field = PlaneRadianceField(
            config.density, self.scene_aabb, len(self.frame_times), self.metres_per_unit, config.decoder
        )
        configs = [replace(config.proposal, scales=(scale,)) for scale in scales] if len(counts) > 1 else None
        self.proposals = nn.ModuleList(self.proposal_field(proposal) for proposal in configs or [config.proposal])
        self.proposal_counts = counts

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published: planes and networks share a learning rate."""
        return {"fields": [*self.field.parameters(), *self.proposals.parameters()]}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the tensors do not tell."""
        return super().signature() | {"decoder": self.config.decoder}

    def sample_field(self, points: Tensor, times: Tensor) -> FieldSamples:
        """Densities, and what colours are made of."""
        return FieldSamples(*self.field.density_and_hidden(points, times))

    def sample_colors(self, points: Tensor, hidden: Tensor | None, ray_ids: Tensor, context: RayBundle) -> Tensor:
        """Colours along the rays' directions."""
        assert hidden is not None
        directions = torch.nn.functional.normalize(context.directions, dim=-1)
        return self.field.colors(hidden, directions[ray_ids])

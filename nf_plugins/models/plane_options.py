"""Options that the methods on feature planes share."""

from __future__ import annotations

from dataclasses import dataclass, field

from nerfstudio.configs.config_utils import to_immutable_dict

from nf_plugins.fields.plane_density_field import PlaneDensityFieldConfig
from nf_plugins.models.boxed_model import BoxedModelConfig
from nf_plugins.models.im4d_options import LOSSES
from nf_plugins.models.occupancy_schedule import TrainingOccupancyConfig


@dataclass
class PlaneModelConfig(BoxedModelConfig):
    """Options that the methods on feature planes share; the defaults are those of Im4D."""

    density: PlaneDensityFieldConfig = field(default_factory=PlaneDensityFieldConfig)
    """Planes and network of the density that is rendered."""
    proposal: PlaneDensityFieldConfig = field(
        default_factory=lambda: PlaneDensityFieldConfig(scales=(128,), channels=12)
    )
    """Planes and network of the density that says where to look."""
    num_samples: int = 32
    """Intervals of a ray that are rendered."""
    proposal_annealing_steps: int = 1000
    """Steps over which intervals come to be placed by the proposal density; 0 begins so."""
    resample_half_bin: bool = True
    """In rendering, look at the middle of a ray's shares; the published code looks at their starts, and never at the
    last share."""
    detach_envelope: bool = True
    """Let the envelope loss teach the proposal alone; the published code lets it pull at the rendered density too."""
    loss_coefficients: dict[str, float] = to_immutable_dict(LOSSES)
    """Weight of each loss; 0 switches a loss off. plane_tv, time_smooth and time_planes are of all planes, where there
    is no weight of proposal_plane_tv and so on."""
    regulariser_interval: int = 5
    """The losses on planes count in every so many steps."""
    average_variation: bool = False
    """Average the variation over planes and leave out its part along time, as in K-Planes; Im4D has it along time."""
    random_background: bool = False
    """Train on a random background for every ray, which needs masks; rendering uses the data's own."""
    occupancy: TrainingOccupancyConfig = TrainingOccupancyConfig()
    """Skipping of empty space: rays are cut to the part between the first and the last occupied cell."""
    cached_samples: int = 128
    """With an occupancy cache: steps along the diagonal of the box, whose occupied ones are rendered."""
    cached_weight_threshold: float = 0.01
    """With an occupancy cache: samples of less weight get no colour."""
    cached_renormalise: bool = True
    """With an occupancy cache: give the weight of samples without colour to the others of the ray; the published code
    gives it to the background."""
    color_weight_threshold: float = 1e-4
    """Rendering evaluates colours only in intervals with more weight than this."""

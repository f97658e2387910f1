"""``nf-render transfer``: the shape of one run in the colours of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nf_plugins.cli.render_options import MovingCamera, check_run
from nf_plugins.errors import InputError


@dataclass
class RenderTransfer(MovingCamera):
    """Geometry of one surface run, colours of another; the camera moves. Both runs stay as they are."""

    load_config: Annotated[Path, tyro.conf.arg(name="geometry")]
    """The config.yml of the run that gives the shape, the cameras and the background."""
    appearance: Path = field(kw_only=True)
    """The config.yml of the run that gives the colours; its shape need not be similar, the sizes of features must."""
    path: Literal["ring", "circle", "spiral", "dataset", "between", "orbit"] = "orbit"
    """A smooth loop past some of the split's cameras that looks at the scene's origin, as in the original; a level
    circle, a circle or a spiral fitted to the cameras, a walk from camera to camera, or a way between two."""

    def check_runs(self) -> None:
        """Both of them."""
        check_run("--geometry", self.load_config)
        check_run("--appearance", self.appearance)
        if self.cache is not None or self.data is not None:
            raise InputError("--cache and --data: two runs on their own scene have neither; leave them out.")

    @contextmanager
    def opened_pipeline(self) -> Iterator[Any]:
        """The geometry's, with the other's colours."""
        from nf_plugins.engine.load_run import load_run
        from nf_plugins.exporters.appearance_transfer import appearance_of

        _, geometry, _, _ = load_run(self.load_config, test_mode="inference")
        _, appearance, _, _ = load_run(self.appearance, test_mode="inference")
        with appearance_of(appearance, geometry, self.appearance, self.load_config) as pipeline:
            yield pipeline

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera; surfaces stand still, so any time will do."""
        from nf_plugins.exporters.trajectories import times_between

        return self.moving_cameras(dataset, lambda count: times_between(0.0, 0.0, count))

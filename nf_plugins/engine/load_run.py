"""Open a trained run from its config.yml, whatever the working directory and wherever the run was moved to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import Pipeline
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.engine import checkpoints
from nf_plugins.engine.devices import best_device_type
from nf_plugins.engine.run_folder import CONFIG_NAME, read_config
from nf_plugins.errors import InputError


class LoadedRun(NamedTuple):
    """A trained run, ready to render."""

    config: TrainerConfig
    """The run's config, its data paths made absolute."""
    pipeline: Pipeline
    """In evaluation mode, on the asked device, with the weights of the checkpoint."""
    checkpoint_path: Path
    """The file the weights came from."""
    step: int
    """The last training step that the weights saw."""

    @property
    def base_dir(self) -> Path:
        """The run's folder, where config.yml lies."""
        return self.checkpoint_path.parents[len(self.config.relative_model_dir.parts)]


def load_run(
    load_config: Path,
    test_mode: Literal["test", "val", "inference"] = "test",
    device: torch.device | str | None = None,
    data: Path | None = None,
) -> LoadedRun:
    """Build a run's pipeline and load its newest readable checkpoint.

    Unlike nerfstudio's ``eval_setup`` this takes the checkpoints from beside config.yml, so that a run can be moved or
    opened from another working directory, and passes over a damaged checkpoint with one line.

    Args:
        load_config: a run's config.yml, or the folder that holds it.
        test_mode: "test" and "val" choose the split that the datamanager evaluates on; "inference" reads no images.
        device: where to put the model; the best device of the machine if None.
        data: another scene, of the same layout as that which was trained on, for methods whose checkpoint belongs to
            no scene.

    Raises:
        InputError: if there is no config.yml or no readable checkpoint, the data is gone, the checkpoint does not
            belong to the method that config.yml names, or it belongs to a scene and another is asked for.
    """
    config_path = _config_path(Path(load_config))
    config: TrainerConfig = read_config(config_path)
    checkpoint_dir = config_path.parent.absolute() / config.relative_model_dir
    found = checkpoints.load_newest_valid(checkpoint_dir)
    if found is None:
        raise InputError(
            f"The run {config_path.parent} holds no readable checkpoint in {config.relative_model_dir}/, expected "
            "step-XXXXXXXXX.ckpt: it was stopped before its first one was written; train it with --resume."
        )
    config = _with_data_found(config, config_path.parent) if data is None else _with_other_data(config, data)
    path, state = found
    pipeline = _setup_pipeline(config, device or best_device_type(), test_mode)
    if data is not None and _belongs_to_a_scene(pipeline):
        raise InputError(
            f"--data {data}: a checkpoint of {config.method_name} is of the one scene that it was trained on, expected "
            "a method that blends source images and stores nothing of a scene, such as enerf: leave the option out."
        )
    try:
        pipeline.load_pipeline(state["pipeline"], state["step"])
    except RuntimeError as error:
        raise InputError(
            f"The checkpoint {path} does not fit the model that {config_path} describes: they belong to different runs."
        ) from error
    pipeline.eval()
    CONSOLE.print(f"Loaded {path}")
    return LoadedRun(config, pipeline, path, state["step"])


def _config_path(path: Path) -> Path:
    if path.is_dir():
        path = path / CONFIG_NAME
    if not path.is_file():
        raise InputError(
            f"--load-config: there is no {path}, expected the config.yml of a run (outputs/EXPERIMENT/METHOD/TIMESTAMP/"
            "config.yml) or the folder that holds it."
        )
    return path


def _setup_pipeline(config: TrainerConfig, device: torch.device | str, test_mode: str) -> Pipeline:
    from nerfstudio.configs.method_configs import all_methods

    # A generic class such as VanillaDataManager[DepthDataset] does not survive the way through YAML.
    if config.method_name in all_methods:
        target = all_methods[config.method_name].pipeline.datamanager._target
        config.pipeline.datamanager._target = target
    return config.pipeline.setup(device=str(device), test_mode=test_mode)


def _with_data_found(config: TrainerConfig, run_dir: Path) -> TrainerConfig:
    """The config with absolute data paths.

    Raises:
        InputError: if the data is neither where config.yml says nor below a folder above the run.
    """
    datamanager: Any = config.pipeline.datamanager
    dataparser: Any = getattr(datamanager, "dataparser", None)
    changes: dict[str, Any] = {}
    data = getattr(datamanager, "data", None)
    if dataparser is not None and getattr(dataparser, "data", None) is not None:
        # The datamanager's own path wins over the dataparser's default, which need not exist.
        found = dataparser.data if data is not None else _find_data(dataparser.data, run_dir)
        changes["dataparser"] = dataclasses.replace(dataparser, data=found)
    if data is not None:
        changes["data"] = _find_data(data, run_dir)
    pipeline = dataclasses.replace(config.pipeline, datamanager=dataclasses.replace(datamanager, **changes))
    return dataclasses.replace(config, pipeline=pipeline)


def _with_other_data(config: TrainerConfig, data: Path) -> TrainerConfig:
    """The config on another scene.

    Raises:
        InputError: if there is no such scene.
    """
    if not data.exists():
        raise InputError(f"--data {data} does not exist, expected a scene like the one that the run was trained on.")
    datamanager: Any = config.pipeline.datamanager
    changes: dict[str, Any] = {"data": data.absolute()}
    if getattr(getattr(datamanager, "dataparser", None), "data", None) is not None:
        changes["dataparser"] = dataclasses.replace(datamanager.dataparser, data=data.absolute())
    pipeline = dataclasses.replace(config.pipeline, datamanager=dataclasses.replace(datamanager, **changes))
    return dataclasses.replace(config, pipeline=pipeline)


def _belongs_to_a_scene(pipeline: Pipeline) -> bool:
    """Whether a checkpoint is of one scene: its box is stored, or nothing but its parameters knows its colours."""
    model: Any = pipeline.model
    return getattr(model, "source_views", None) is None or "scene_aabb" in model.state_dict()


def _find_data(data: Path, run_dir: Path) -> Path:
    if data.exists():
        return data.absolute()
    if not data.is_absolute():
        for folder in run_dir.absolute().parents:
            if (folder / data).exists():
                return folder / data
    raise InputError(
        f"The data of the run {run_dir} is not at {data} (seen from here, nor from any folder above the run): put it "
        f"back, or edit the data path in {run_dir / CONFIG_NAME}."
    )

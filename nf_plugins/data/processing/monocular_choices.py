"""Which program finds flow and depth. An earlier run that is gone on with has chosen already."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data.processing.frame_depth import DepthNetwork, depth_network_loaded_late, load_depth_network
from nf_plugins.data.processing.monocular_plan import DepthBackend
from nf_plugins.data.processing.optical_flow import (
    FlowEstimator,
    choose_flow_estimator,
    raft_loaded_late,
)
from nf_plugins.data.processing.options import MonocularVideoOptions
from nf_plugins.data.processing.stage_log import StageLog
from nf_plugins.errors import InputError


@dataclass(frozen=True)
class DepthChoice:
    """Where depth comes from."""

    backend: DepthBackend
    network: DepthNetwork | None = None


def choose_flow(options: MonocularVideoOptions, log: StageLog) -> FlowEstimator | None:
    """What searches flow; None where it is read from files. auto stays with what an earlier run that is gone on with
    began. Weights are not loaded where all flow was made with them.

    Raises:
        InputError: RAFT is asked for and its weights cannot be had.
    """
    if options.flow_folder is not None or options.flow_backend == "folder":
        return None
    earlier = None if options.overwrite else log.made_with("flow")
    backend = (earlier or {}).get("backend")
    if backend == "raft" and log.finished("flow") and options.flow_backend in ("auto", "raft"):
        return raft_loaded_late(options.flow_weights)
    return choose_flow_estimator(options.flow_backend, options.flow_weights, backend)


def choose_depth(options: MonocularVideoOptions, log: StageLog) -> DepthChoice:
    """Where depth is to come from; auto stays with what an earlier run that is gone on with began. The network is not
    loaded where all depth was made with it.

    Raises:
        InputError: The network is asked for, by its backend or its name, and cannot be had.
    """
    if options.depth_folder is not None:
        return DepthChoice("folder")
    if options.depth_backend not in ("auto", "transformers"):
        return DepthChoice(options.depth_backend)
    earlier = {} if options.overwrite else log.made_with("depth") or {}
    named = options.depth_model != MonocularVideoOptions.depth_model
    asked_for = options.depth_backend == "transformers" or named
    if earlier.get("backend") == "triangulated" and not asked_for:
        return DepthChoice("triangulated")
    if log.finished("depth") and earlier == {"backend": "transformers", "depth_model": options.depth_model}:
        return DepthChoice("transformers", depth_network_loaded_late(options.depth_model))
    try:
        return DepthChoice("transformers", load_depth_network(options.depth_model))
    except InputError as error:
        if asked_for or earlier.get("backend") == "transformers":
            raise
        CONSOLE.print(f"[yellow]No depth by a network. {error}", soft_wrap=True, highlight=False)
        return DepthChoice("triangulated")

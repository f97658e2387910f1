"""The trainer in two processes that know of each other (gloo, CPU; the pipeline itself is not wrapped in DDP, which
nerfstudio does for CUDA only)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nf_plugins.engine.checkpoints import list_checkpoints
from nf_plugins.engine.dynamic_trainer import DynamicTrainer

PROGRAM = """
import json, random, sys
from pathlib import Path
import numpy, torch, torch.distributed, yaml
sys.path[:0] = [sys.argv[4]]
rank, config_path, rendezvous = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
import nerfstudio.configs.base_config
from conftest import RecordingTrainer
torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
config = yaml.load(config_path.read_text(), Loader=yaml.Loader)
config._target = RecordingTrainer
seed = config.machine.seed + rank
random.seed(seed), numpy.random.seed(seed), torch.manual_seed(seed)
trainer = config.setup(local_rank=rank, world_size=2)
trainer.world_size = 1  # for the pipeline
trainer.setup()
torch.distributed.barrier()
trainer.train()
torch.distributed.barrier()
print("LOSSES", json.dumps(trainer.losses))
"""


def train_in_two_processes(config: Any, rendezvous: Path) -> list[dict[int, float]]:
    """Both processes' losses by step."""
    config._target = DynamicTrainer  # the recording one cannot be imported by the name it has here
    config.set_timestamp()
    config.save_config()
    path = config.get_base_dir() / "config.yml"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(path), f"file://{rendezvous}", str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    results = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        losses = json.loads(output.split("LOSSES")[1])
        results.append({int(step): loss for step, loss in losses.items()})
    return results


def test_one_process_writes_and_both_go_on_with_rays_of_their_own(
    tiny_config: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    before = train(tiny_config(resume=True, max_num_iterations=5))
    losses = train_in_two_processes(tiny_config(resume=True, max_num_iterations=8), tmp_path / "rendezvous")
    assert [sorted(of_rank) for of_rank in losses] == [[5, 6, 7]] * 2
    assert losses[0] != losses[1]
    names = [path.name for path in list_checkpoints(before.checkpoint_dir)]
    assert names == ["step-000000007.ckpt", "step-000000004.ckpt"]
    assert len(list(before.base_dir.glob("events.out.tfevents.*"))) == 2  # one log for each start

"""A stand-in for ns-train: it does what a plan says, one word for each start, and its checkpoints are empty files.

python fake_trainer.py RUN_DIR RAYS WORD ...
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

STEPS = 100


def checkpoint(run_dir: Path, step: int) -> None:
    (run_dir / "nerfstudio_models").mkdir(exist_ok=True)
    (run_dir / "nerfstudio_models" / f"step-{step:09d}.ckpt").touch()


def train_iteration(rays: int) -> None:
    if rays > 256:
        raise MemoryError(f"{rays} rays")


def main(run_dir: Path, rays: int, *plan: str) -> None:
    starts = run_dir / "starts"
    word = plan[min(len(starts.read_text()) if starts.exists() else 0, len(plan) - 1)]
    with starts.open("a") as file:
        file.write("x")
    if word == "early":  # before a configuration is written
        os.kill(os.getpid(), signal.SIGKILL)
    config = f"max_num_iterations: {STEPS}\npipeline:\n  train_num_rays_per_batch: {rays}\n"
    (run_dir / "config.yml").write_text(config + "  eval_num_rays_per_chunk: 2048\n")
    if word == "input":
        sys.exit("The scene has no images, expected some.")
    elif word == "error":
        raise ValueError("always the same")
    elif word == "progress":
        checkpoint(run_dir, 49)
        raise ValueError("always the same")
    elif word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "kill_at_the_end":
        checkpoint(run_dir, STEPS - 1)
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "sleep":
        signal.signal(signal.SIGINT, lambda *_: sys.exit((run_dir / "ended").touch()))
        (run_dir / "sleeps").touch()
        time.sleep(60)
    elif word == "train":
        train_iteration(rays)
        checkpoint(run_dir, STEPS - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])

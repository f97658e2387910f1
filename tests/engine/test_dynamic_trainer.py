"""A run that is stopped and started again is the run that was never stopped."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from nerfstudio.engine.trainer import Trainer

from nf_plugins.engine import checkpoints
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.errors import InputError

Config = Callable[..., DynamicTrainerConfig]
Run = Callable[..., Any]


def steps_on_disk(trainer: Any) -> list[int | None]:
    return [checkpoints.checkpoint_step(path) for path in checkpoints.list_checkpoints(trainer.checkpoint_dir)]


def newest_state(trainer: Any) -> dict[str, Any]:
    return checkpoints.load_checkpoint(checkpoints.list_checkpoints(trainer.checkpoint_dir)[0])


def assert_equal(first: Any, second: Any, name: str = "state") -> None:
    assert type(first) is type(second), name
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first:
            assert_equal(first[key], second[key], f"{name}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), name
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, other, f"{name}.{index}")
    else:
        assert first == second, name


@pytest.mark.parametrize("kills", [[6], [2, 4, 5, 11]])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    tiny_config: Config, train: Run, kills: list[int]
) -> None:
    # Evaluations in between draw random numbers, too.
    fields = {"resume": True, "steps_per_eval_image": 5}
    whole = train(tiny_config(experiment_name="whole", **fields))
    losses: dict[int, float] = {}
    for kill_at in kills:
        losses.update(train(tiny_config(**fields), kill_at=kill_at).losses)
    last = train(tiny_config(**fields))
    for step, loss in last.losses.items():
        assert losses.get(step, loss) == loss  # steps that were taken again gave the same
    losses.update(last.losses)
    assert losses == whole.losses
    assert sorted(losses) == list(range(12))
    assert len(set(losses.values())) == 12
    assert_equal(newest_state(last), newest_state(whole))


def test_resuming_reads_the_checkpoint_rather_than_training_again(tiny_config: Config, train: Run) -> None:
    train(tiny_config(resume=True), kill_at=6)
    assert sorted(train(tiny_config(resume=True)).losses) == [5, 6, 7, 8, 9, 10, 11]


def test_a_run_goes_on_with_fewer_rays_per_batch(tiny_config: Config, train: Run) -> None:
    train(tiny_config(resume=True), kill_at=6)
    config: Any = tiny_config(resume=True)
    config.pipeline.datamanager.train_num_rays_per_batch = 16
    assert sorted(train(config).losses) == list(range(5, 12))


def test_without_resume_a_new_run_is_started(tiny_config: Config, train: Run) -> None:
    first = train(tiny_config(timestamp="first"), kill_at=6)
    second = train(tiny_config(max_num_iterations=2))
    assert sorted(second.losses) == [0, 1]
    assert second.base_dir != first.base_dir


def test_resume_without_a_run_starts_one(tiny_config: Config, train: Run) -> None:
    assert sorted(train(tiny_config(resume=True, max_num_iterations=2)).losses) == [0, 1]


def test_iterations_are_counted_in_all_and_may_be_raised(tiny_config: Config, train: Run) -> None:
    train(tiny_config(resume=True, max_num_iterations=5))
    longer = train(tiny_config(resume=True, max_num_iterations=7))
    assert sorted(longer.losses) == [5, 6]
    assert steps_on_disk(longer)[0] == 6
    assert longer.config.max_num_iterations == 7
    assert sorted(train(tiny_config(resume=True, max_num_iterations=7)).losses) == []
    assert steps_on_disk(longer)[0] == 6


def test_a_complete_run_is_left_as_it_is(tiny_config: Config, train: Run, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = train(tiny_config(resume=True, max_num_iterations=5))
    before = {path: path.read_bytes() for path in trainer.checkpoint_dir.iterdir()}
    capsys.readouterr()
    train(tiny_config(resume=True, max_num_iterations=5))
    assert "already complete: 5 of 5 steps" in " ".join(capsys.readouterr().out.split())
    assert {path: path.read_bytes() for path in trainer.checkpoint_dir.iterdir()} == before


@pytest.mark.parametrize(("keep_previous", "expected"), [(True, [11, 8]), (False, [11])])
def test_the_newest_checkpoints_are_kept(
    tiny_config: Config, train: Run, keep_previous: bool, expected: list[int]
) -> None:
    trainer = train(tiny_config(keep_previous_checkpoint=keep_previous))
    assert steps_on_disk(trainer) == expected
    assert {path.suffix for path in trainer.checkpoint_dir.iterdir()} == {".ckpt"}


def test_all_checkpoints_are_kept_when_asked(tiny_config: Config, train: Run) -> None:
    assert steps_on_disk(train(tiny_config(save_only_latest_checkpoint=False))) == [11, 8, 4]


def test_saving_the_last_step_twice_keeps_the_checkpoint_before_it(tiny_config: Config, train: Run) -> None:
    # The loop saves step 8, and training ends with it and saves it again.
    assert steps_on_disk(train(tiny_config(max_num_iterations=9))) == [8, 4]


def test_a_truncated_newest_checkpoint_is_passed_over(tiny_config: Config, train: Run) -> None:
    whole = train(tiny_config(experiment_name="whole"))
    killed = train(tiny_config(resume=True), kill_at=10)
    newest = checkpoints.list_checkpoints(killed.checkpoint_dir)[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = train(tiny_config(resume=True))
    assert sorted(resumed.losses) == list(range(5, 12))
    assert all(loss == whole.losses[step] for step, loss in resumed.losses.items())


def test_a_damaged_checkpoint_never_displaces_a_good_one(tiny_config: Config, train: Run) -> None:
    killed = train(tiny_config(resume=True), kill_at=10)
    (killed.checkpoint_dir / "step-000000009.ckpt").write_bytes(b"damaged")
    resumed = train(tiny_config(resume=True, max_num_iterations=11, steps_per_save=1000))
    assert steps_on_disk(resumed) == [10, 8]


def test_leftovers_of_a_killed_process_are_removed_at_the_start(tiny_config: Config, train: Run) -> None:
    killed = train(tiny_config(resume=True), kill_at=6)
    leftover = killed.base_dir / ".step-000000008.ckpt.1.tmp"
    leftover.write_bytes(b"half a checkpoint")
    train(tiny_config(resume=True))
    assert not leftover.exists()


def change_model(config: Any) -> None:
    config.pipeline.model.sdf_field.hidden_dim = 40


def change_sampler(config: Any) -> None:
    config.pipeline.datamanager.pixel_sampler.strategy = "foreground_balanced"


def change_optimiser(config: Any) -> None:
    config.optimizers["fields"]["optimizer"] = dataclasses.replace(config.optimizers["fields"]["optimizer"], lr=0.5)


def change_seed(config: Any) -> None:
    config.machine.seed = 1


@pytest.mark.parametrize(
    ("change", "option"),
    [
        (change_model, r"--pipeline\.model\.sdf-field\.hidden-dim 64, this command asks for 40"),
        (change_sampler, r"--pipeline\.datamanager\.pixel-sampler\.strategy"),
        (change_optimiser, r"--optimizers\.fields\.optimizer\.lr"),
        (change_seed, r"--machine\.seed 42, this command asks for 1"),
    ],
)
def test_another_setting_is_refused_by_name_and_nothing_is_touched(
    tiny_config: Config, train: Run, change: Callable[[Any], None], option: str
) -> None:
    trainer = train(tiny_config(resume=True, max_num_iterations=2))
    before = {path: path.read_bytes() for path in trainer.base_dir.rglob("*") if path.is_file()}
    config = tiny_config(resume=True)
    change(config)
    with pytest.raises(InputError, match=option):
        train(config)
    assert {path: path.read_bytes() for path in trainer.base_dir.rglob("*") if path.is_file()} == before


def test_settings_that_do_not_reach_the_training_may_change(tiny_config: Config, train: Run) -> None:
    train(tiny_config(resume=True, max_num_iterations=2))
    config: Any = tiny_config(resume=True, max_num_iterations=3, steps_per_save=1)
    config.pipeline.model.eval_num_rays_per_chunk = 17
    assert sorted(train(config).losses) == [2]


def test_a_run_without_a_checkpoint_may_be_started_again_with_other_settings(tiny_config: Config, train: Run) -> None:
    killed = train(tiny_config(resume=True), kill_at=1)
    config: Any = tiny_config(resume=True, max_num_iterations=1)
    change_model(config)
    assert train(config).base_dir == killed.base_dir


def test_a_finished_run_is_not_overwritten(tiny_config: Config, train: Run) -> None:
    train(tiny_config(timestamp="first", max_num_iterations=2))
    with pytest.raises(InputError, match="already holds checkpoints: add --resume"):
        train(tiny_config(timestamp="first", max_num_iterations=2))


def test_unwritable_output_folder(tiny_config: Config, train: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file"):
        train(tiny_config(output_dir=tmp_path / "file" / "outputs"))


def test_config_is_written_whole_and_reads_back(tiny_config: Config) -> None:
    config = tiny_config(timestamp="first")
    config.save_config()
    assert [path.name for path in config.get_base_dir().iterdir()] == ["config.yml"]
    assert yaml.load((config.get_base_dir() / "config.yml").read_text(), Loader=yaml.Loader) == config


def test_load_dir_and_load_checkpoint_of_the_user(tiny_config: Config, train: Run) -> None:
    first = train(tiny_config(timestamp="first", save_only_latest_checkpoint=False))
    later = train(tiny_config(timestamp="a", load_dir=first.checkpoint_dir, load_step=4, max_num_iterations=6))
    assert later.losses == {5: first.losses[5]}
    newest = checkpoints.list_checkpoints(first.checkpoint_dir)[0]
    later = train(tiny_config(timestamp="b", load_checkpoint=newest, max_num_iterations=13))
    assert sorted(later.losses) == [12]


def test_a_truncated_checkpoint_of_the_user_gets_its_sentence(tiny_config: Config, start: Run, tmp_path: Path) -> None:
    (tmp_path / "step-000000004.ckpt").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(InputError, match=r"step-000000004\.ckpt cannot be read"):
        start(tiny_config(timestamp="a", load_checkpoint=tmp_path / "step-000000004.ckpt"))
    with pytest.raises(InputError, match="holds no readable checkpoint"):
        start(tiny_config(timestamp="b", load_dir=tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        start(tiny_config(timestamp="c", load_dir=tmp_path, load_step=77))


def test_a_checkpoint_of_another_method_gets_its_sentence(tiny_config: Config, train: Run, start: Run) -> None:
    first = train(tiny_config(timestamp="first", max_num_iterations=2))
    config: Any = tiny_config(timestamp="second", load_dir=first.checkpoint_dir)
    config.pipeline.model.sdf_field.residual_layers = ()
    with pytest.raises(InputError, match="another method or size"):
        start(config)


def test_other_optimiser_groups_get_their_sentence(tiny_config: Config, train: Run, start: Run) -> None:
    first = train(tiny_config(timestamp="first", max_num_iterations=2))
    path = checkpoints.list_checkpoints(first.checkpoint_dir)[0]
    state = checkpoints.load_checkpoint(path)
    state["optimizers"]["camera_opt"] = state["optimizers"]["fields"]
    torch.save(state, path)
    with pytest.raises(InputError, match="has optimizers for camera_opt, fields, this method has them for fields"):
        start(tiny_config(timestamp="second", load_dir=first.checkpoint_dir))


def test_stock_trainer_and_ns_eval_read_the_checkpoints(tiny_config: Config, train: Run) -> None:
    trainer = train(tiny_config(max_num_iterations=6))
    names = os.listdir(trainer.checkpoint_dir)
    assert sorted(int(name[name.find("-") + 1 : name.find(".")]) for name in names)[-1] == 5
    config: Any = tiny_config(timestamp="stock", load_dir=trainer.checkpoint_dir)
    stock = Trainer(config)
    stock.setup()
    assert stock._start_step == 6


def test_a_run_stopped_from_outside_is_saved_at_the_last_step_taken(
    tiny_config: Config, train: Run, start: Run
) -> None:
    whole = train(tiny_config(experiment_name="whole"))
    trainer = start(tiny_config(resume=True))
    original = trainer._note_completed_step

    def stop_after_five(step: int) -> None:
        original(step)
        trainer.stop_training = step == 5

    trainer.callbacks[-2].func = stop_after_five
    trainer.train()
    assert steps_on_disk(trainer)[0] == 5
    resumed = train(tiny_config(resume=True))
    assert resumed.losses == {step: whole.losses[step] for step in range(6, 12)}


def test_everything_up_to_a_checkpoint_is_in_the_log_when_it_is_written(
    tiny_config: Config, train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged: dict[int, list[int]] = {}
    save = checkpoints.save_checkpoint_atomically

    def look_then_save(state: dict[str, Any], path: Path) -> None:
        log = EventAccumulator(str(path.parent.parent)).Reload()
        logged[state["step"]] = [event.step for event in log.Scalars("Train Loss")]
        save(state, path)

    monkeypatch.setattr(checkpoints, "save_checkpoint_atomically", look_then_save)
    config: Any = tiny_config()
    config.logging.steps_per_log = 1
    train(config)
    assert logged == {step: list(range(step + 1)) for step in (4, 8, 11)}


class Evaluations:
    """Stands for the evaluation after training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        from nf_plugins.evaluation import evaluate

        self.steps: list[int] = []
        self.error = error
        monkeypatch.setattr(evaluate, "evaluate_pipeline", self)

    def __call__(self, pipeline: Any, config: Any, step: int, split: str, output_path: Path) -> None:
        assert not pipeline.training
        assert split == "test"
        self.steps.append(step)
        if self.error is not None:
            raise self.error
        output_path.parent.mkdir(exist_ok=True)
        output_path.write_text("{}")


def test_evaluation_runs_after_training_and_once_only(
    tiny_config: Config, train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = Evaluations(monkeypatch)
    fields = {"resume": True, "evaluate_after_training": True}
    trainer = train(tiny_config(max_num_iterations=2, **fields))
    train(tiny_config(max_num_iterations=2, **fields))
    assert evaluations.steps == [1]
    (trainer.base_dir / "evaluation" / "test.json").unlink()
    train(tiny_config(max_num_iterations=2, **fields))  # as after a kill during the evaluation
    assert evaluations.steps == [1, 1]
    train(tiny_config(max_num_iterations=3, **fields))
    assert evaluations.steps == [1, 1, 2]


def test_a_failed_evaluation_does_not_lose_the_run(
    tiny_config: Config, train: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations = Evaluations(monkeypatch, error=InputError("the disk is on fire"))
    trainer = train(tiny_config(max_num_iterations=2, evaluate_after_training=True))
    assert evaluations.steps == [1]
    assert steps_on_disk(trainer) == [1]
    assert "the disk is on fire" in " ".join(capsys.readouterr().out.split())


def test_the_real_evaluation_lands_in_the_run(tiny_config: Config, train: Run) -> None:
    trainer = train(tiny_config(max_num_iterations=1, evaluate_after_training=True))
    assert (trainer.base_dir / "evaluation" / "test.json").is_file()


def test_only_the_main_process_writes(tiny_config: Config, start: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start(tiny_config(max_num_iterations=2, evaluate_after_training=True))
    before = {path for path in trainer.base_dir.rglob("*") if path.suffix in (".ckpt", ".lock", ".json")}
    monkeypatch.setattr("nerfstudio.utils.comms.get_rank", lambda: 1)
    trainer.train()
    after = {path for path in trainer.base_dir.rglob("*") if path.suffix in (".ckpt", ".lock")}
    assert after == before
    assert not (trainer.base_dir / "evaluation").exists()


def test_other_processes_draw_other_numbers_after_a_restart(
    tiny_config: Config, train: Run, start: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_config(resume=True, max_num_iterations=5))
    drawn = []
    for rank in (0, 1, 2):
        trainer = start(tiny_config(resume=True))
        monkeypatch.setattr("nerfstudio.utils.comms.get_rank", lambda rank=rank: rank)
        trainer._begin_training(step=5)
        drawn.append(torch.rand(1).item())
        monkeypatch.undo()
    assert len(set(drawn)) == 3

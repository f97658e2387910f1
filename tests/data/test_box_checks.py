"""A subject outside its box is seen before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from ball_capture import write_capture
from source_rig import training_dataset, write_rig

from nf_plugins.data.box_checks import require_subject_in_box, share_in_box
from nf_plugins.data.source_views import SourceViews
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("rig") / "scene")


def test_the_share_of_the_subject_in_its_box(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = SourceViews([training_dataset(folder)])
    assert share_in_box(right) == 1
    capsys.readouterr()
    require_subject_in_box(right)
    assert capsys.readouterr().out == ""


def test_a_box_beside_the_subject(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views = SourceViews([training_dataset(folder, box_shift=0.3)])
    require_subject_in_box(views)
    assert "cuts the subject off" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(InputError, match="The box excludes the subject: .* only .*--scene-box"):
        require_subject_in_box(SourceViews([training_dataset(folder, box_shift=2.0)]))


def test_without_masks_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = training_dataset(write_capture(tmp_path / "scene", num_frames=2), box_shift=2.0)
    capsys.readouterr()
    require_subject_in_box(SourceViews([dataset]))
    assert capsys.readouterr().out == ""

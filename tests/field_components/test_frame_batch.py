import pytest
import torch

from nf_plugins.field_components.frame_batch import FrameBatch, choose_capacity, group_rows


@pytest.mark.parametrize("keys", [[3, 1, 1, 3, 1, 0], [5], [0, 0, 1, 1], [2, 2, 2, 2, 2, 2, 2, 0]])
@pytest.mark.parametrize("points_per_row", [1, 24])
def test_merging_undoes_splitting(keys: list[int], points_per_row: int) -> None:
    rows = torch.arange(len(keys) * 2.0).view(-1, 2)
    groups = group_rows(torch.tensor(keys), points_per_row)
    split = groups.split(rows)
    assert split.shape == (len(groups.keys), groups.capacity, 2)
    assert torch.equal(groups.merge(split), rows)


def test_all_rows_of_a_group_have_its_key_padding_included() -> None:
    keys = torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(0))
    groups = group_rows(keys, points_per_row=4)
    assert torch.equal(groups.split(keys), groups.keys[:, None].expand(-1, groups.capacity))
    assert int((~groups.is_padding()).sum()) == 50


def test_equal_counts_in_order_move_nothing() -> None:
    rows = torch.rand(12, 3)
    groups = group_rows(torch.arange(4).repeat_interleave(3))
    assert groups.gather is None and groups.slots is None
    assert groups.split(rows).data_ptr() == rows.data_ptr()


def test_padding_receives_no_gradient() -> None:
    rows = torch.rand(5, 2, requires_grad=True)
    groups = group_rows(torch.tensor([0, 0, 0, 1, 2]), points_per_row=100)
    groups.merge(groups.split(rows) * 3).sum().backward()
    assert rows.grad is not None and torch.equal(rows.grad, torch.full((5, 2), 3.0))


def test_capacity_weighs_padding_against_copies_of_weights() -> None:
    counts = torch.tensor([1, 1, 1, 20])
    assert choose_capacity(counts, points_per_row=1) > choose_capacity(counts, points_per_row=1000)
    assert choose_capacity(torch.tensor([11, 11, 11]), points_per_row=64) == 11


def test_frames_from_times_and_ids() -> None:
    frames = FrameBatch.from_times(torch.tensor([0.0, 0.75]), torch.tensor([0.0, 0.5, 1.0]))
    assert frames.frame_ids.tolist() == [0, 2] and frames.coordinates.tolist() == [0.0, 1.5]
    assert FrameBatch.from_ids(torch.tensor([4, 2])).coordinates.tolist() == [4.0, 2.0]

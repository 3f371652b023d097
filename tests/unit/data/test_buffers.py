"""Buffers are used again once nothing refers to them, and no sooner."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from robustest.data.buffers import Buffers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_a_buffer_is_free_once_the_last_view_is_gone(dtype: torch.dtype) -> None:
    buffers = Buffers()
    first = buffers.empty((4, 3, 2), dtype)
    assert (first.shape, first.dtype) == ((4, 3, 2), dtype)
    place, view = first.data_ptr(), first[2].flatten()
    del first
    second = buffers.empty((4, 3, 2), dtype)
    assert second.data_ptr() != place  # a view is left
    second.fill_(1)
    del view
    assert buffers.empty((2, 3, 2), dtype).data_ptr() == place


def test_views_by_numpy_count() -> None:
    buffers = Buffers()
    first = buffers.empty((4,), torch.float32)
    place, view = first.data_ptr(), first.numpy()[1:]
    del first
    assert buffers.empty((4,), torch.float32).data_ptr() != place
    assert view.size == 3


def test_a_larger_chunk_gets_memory_of_its_own() -> None:
    buffers = Buffers()
    buffers.empty((1, 2), torch.float32)  # with room for many rows
    whole = buffers.empty((100_000, 2), torch.float32)
    assert whole.fill_(1).sum() == 200_000
    assert buffers.empty((0, 2), torch.float32).shape == (0, 2)


def test_buffers_end_with_their_owner() -> None:
    buffers = Buffers()
    tensor = buffers.empty((4,), torch.float32)
    owner = weakref.ref(buffers)
    del buffers
    gc.collect()
    assert owner() is None
    assert tensor.fill_(2).sum() == 8

"""Every sample of every function on every backend: results on arrays and tensors, and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map_only

import fastconv
import fastconv.torch

from .agreement import assert_gradients, assert_results
from .catalogue import OPERATIONS, UNLISTED, Sample, differentiable, entries, leaves, results, samples

every_operation = pytest.mark.parametrize("operation", OPERATIONS)


@contextmanager
def naming(sample: Sample) -> Iterator[None]:
    """Say in a failure's traceback which sample it was."""
    try:
        yield
    except Exception as failure:
        failure.add_note(f"sample: {sample}")
        raise


def test_the_catalogue_is_what_the_tests_say_it_is() -> None:
    assert all(entries(operation) for operation in OPERATIONS)
    assert not any(entries(operation) for operation in UNLISTED)
    assert sum(len(samples(operation, "float32")) for operation in OPERATIONS) > 1000


@every_operation
def test_results_on_arrays(operation: str, backend: str, dtype: str) -> None:
    function = getattr(fastconv, operation)
    for sample in samples(operation, dtype):
        with naming(sample):
            arguments, keywords = tree_map_only(torch.Tensor, torch.Tensor.numpy, (sample.arguments, sample.keywords))
            returned = results(function(*arguments, **keywords, backend=backend))
            assert all(isinstance(result, np.ndarray) for result in returned)
            assert_results(operation, returned, sample.expected, dtype)


@every_operation
def test_results_on_tensors(operation: str, backend: str, dtype: str) -> None:
    function = getattr(fastconv.torch.functional, operation)
    for sample in samples(operation, dtype):
        with naming(sample):
            returned = results(function(*sample.arguments, **sample.keywords, backend=backend))
            assert all(isinstance(result, torch.Tensor) for result in returned)
            assert_results(operation, returned, sample.expected, dtype)


@every_operation
def test_gradients(operation: str, backend: str, dtype: str) -> None:
    function = getattr(fastconv.torch.functional, operation)
    for sample in samples(operation, dtype):
        with naming(sample):
            given = leaves((sample.arguments, sample.keywords))
            returned = results(function(*given[0], **given[1], backend=backend))
            gradients = torch.autograd.grad(differentiable(returned), differentiable(given), sample.cotangents)
            assert_gradients(gradients, sample.gradients, dtype)

"""Networks trained by others: what we measure must agree with what is known of them."""

from __future__ import annotations

from types import ModuleType

import pytest

from robustest import Linf
from robustest.measure import measure_robust_accuracy


@pytest.mark.slow
def test_an_adversarially_trained_mnist_net(shared_networks: ModuleType) -> None:
    """PGD of 40 steps at 0.3; the net's authors and peers' attacks of this strength give about 0.9."""
    data = shared_networks.images("mnist_test", 1000)
    result = measure_robust_accuracy(shared_networks.load("fast_mnist_pgd"), data, Linf(0.3), attack="pgd")
    assert 0.89 <= result.estimate <= 0.91
    assert result.numbers.n == result.numbers.n_total == 1000


@pytest.mark.slow
def test_an_adversarially_trained_cifar10_net(shared_networks: ModuleType) -> None:
    """VNN-COMP 2021 publishes 54.82 % at 2/255 over the whole test set; the first thousand are a little easier."""
    data = shared_networks.images("cifar10_test_exact1000", 1000)
    result = measure_robust_accuracy(shared_networks.load("resnet_2b"), data, Linf(2 / 255), attack="pgd")
    assert 0.55 <= result.estimate <= 0.58
    assert result.details["clean_accuracy"] > 0.7


def test_a_net_without_a_defence_has_none(shared_networks: ModuleType) -> None:
    data = shared_networks.images("mnist_test", 200)
    result = measure_robust_accuracy(shared_networks.load("lenet5_mnist"), data, Linf(0.3), attack="pgd")
    assert result.estimate == 0
    assert result.cost.backward < 10 * 200  # broken samples are not attacked on

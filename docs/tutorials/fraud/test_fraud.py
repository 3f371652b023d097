import pytest
from payments import payments
from sklearn.ensemble import GradientBoostingClassifier

from robustest import Columns, assert_accuracy, assert_robust_accuracy
from robustest.threats import Relative, Whole


@pytest.fixture(scope="module")
def robust_model():
    return GradientBoostingClassifier(n_estimators=30, random_state=0).fit(*payments(seed=0))


@pytest.fixture(scope="module")
def robust_data():
    rows, fraud = payments(seed=1)
    return rows[:300], fraud[:300]


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.9)


def test_thief_who_knows_the_rules(robust_model, robust_data):
    rules = {"amount": Relative(0.5), "hour": Whole(6), "payments_today": Whole(2)}
    assert_robust_accuracy(robust_model, robust_data, Columns(rules), at_least=0.9)

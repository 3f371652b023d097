import pytest
from payments import payments
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from test_fraud import robust_data, test_accuracy, test_thief_who_knows_the_rules  # noqa: F401

KNOWN_TO_THE_BANK = ["card_age_days", "known_device", "shop_risk"]


@pytest.fixture(scope="module")
def robust_model():
    columns = make_column_transformer(("passthrough", KNOWN_TO_THE_BANK))
    return make_pipeline(columns, GradientBoostingClassifier(n_estimators=30, random_state=0)).fit(*payments(seed=0))

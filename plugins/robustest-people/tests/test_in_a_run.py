"""Claims on labels in a run: fixtures, what a failure says, files, pages and pictures."""

from __future__ import annotations

import json

CONFTEST = """
import pytest
import robustest_people
from toy import Brightness, data

class DarkOrBright(Brightness):
    def forward(self, x):
        return super().forward(x).view(len(x), -1, 2).amax(1)

@pytest.fixture(scope="session")
def robust_model():
    return DarkOrBright()

@pytest.fixture(scope="session")
def robust_data():
    x, y = data(times=20)
    return x, y % 2

@pytest.fixture(scope="session")
def robust_responses(robust_data):
    labels = robust_data[1].tolist()
    counts = [[50 * (k == y) if at % 4 else 20 + 10 * (k != y) for k in (0, 1)] for at, y in enumerate(labels)]
    return robustest_people.Responses.from_counts(counts, classes=["dark", "bright"])
"""


def test_a_run_with_what_people_said(project, write, run, rows_of):
    (project.path / "conftest.py").write_text(CONFTEST)
    write(
        test_a="""
        from robustest_people import assert_label_agreement, assert_label_quality

        def test_contained(robust_model, robust_data, robust_responses):
            assert_label_agreement(robust_model, robust_data, robust_responses, min_contained=0.8)

        def test_main(robust_model, robust_data, robust_responses):
            assert_label_agreement(robust_model, robust_data, robust_responses, min_main=0.99, exact=True)

        def test_quality(robust_data, robust_responses):
            assert_label_quality(robust_data, robust_responses, max_error_rate=0.02)
        """
    )
    rows = rows_of("--robust-html", "page")
    verdicts = {name: row["result"]["verdict"] for name, row in rows.items()}
    assert verdicts == {"test_contained": "passed", "test_main": "failed", "test_quality": "failed"}
    quality = rows["test_quality"]["result"]
    assert (quality["estimate"], quality["details"]["wrong"]) == (0.25, 20)
    assert quality["counterexamples"][0]["image"]
    page = (project.path / "page" / "index.html").read_text()
    for words in (
        "hits on a label that annotators prefer another to",
        "20 labels are wrong",
        "0 (dark)",
        "people select",
    ):
        assert words in page
    told = run("--robust").stdout.str()
    assert "claim     share that is what annotators select most" in told
    assert "label 0 (dark), people select 1 (bright)" in told
    assert json.loads(json.dumps(quality)) == quality

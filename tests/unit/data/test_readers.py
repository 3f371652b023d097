"""Every reader of outcomes: a file that its tool wrote, the tool's own figures, a damaged file, a row in the docs.

`outcomes/README.md` says how each file was made. Figures are those that the tool wrote into the file, or printed when
it made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from robustest.data import Outcomes
from robustest.data.readers import READERS, recognised
from robustest.data.readers.document import Document
from robustest.errors import RobustestError, UnknownNameError

FILES = Path(__file__).with_name("outcomes")
ROOT = Path(__file__).resolve().parents[3]
SUMS = "samples_sums_2026-11-29T02-02-01.174683.jsonl"


class Figure(NamedTuple):
    """A figure of a tool about one of its files, and the keywords that read the scores it is of."""

    file: str
    keywords: dict[str, Any]
    value: float
    missing: str = "fail"  # "drop" for a tool that leaves runs without a score out


ESSAYS = "inspect-graded.eval"
FIGURES: dict[str, list[Figure]] = {
    "deepeval": [
        Figure("deepeval.json", {"score": "success"}, 2 / 6),  # testPassed of testPassed and testFailed
        Figure("deepeval.json", {"score": "Overlap"}, (1 + 1 + 0 + 1 + 1 / 3) / 5, "drop"),  # metricsScores
        Figure("deepeval.json", {"score": "Short"}, (5 + 0.25) / 6),
    ],
    "inspect": [
        # results.scores: the mean over epochs, then over samples
        Figure(ESSAYS, {"score": "grade", "low": 1, "high": 10}, 5.166666666666666, "drop"),
        Figure(ESSAYS, {"score": "rubric.clarity"}, 0.375, "drop"),
        Figure(ESSAYS, {"score": "rubric.faithful"}, 0.625, "drop"),
        Figure("inspect.json", {"score": "match"}, 0.625),
    ],
    "junit": [Figure("junit.xml", {}, 3 / 4, "drop")],  # tests="5" skipped="1" failures="1"
    "label-studio": [],  # its export has no figures
    "langfuse": [
        # ExperimentResult.format(): "Average Scores"
        Figure("langfuse-experiment.json", {"score": "exact"}, 0.6),
        Figure("langfuse-experiment.json", {"score": "stars", "low": 1, "high": 5}, 2.0),
        Figure("langfuse-scores.json", {"score": "exact"}, 0.6),
        Figure("langfuse-scores.json", {"score": "stars", "low": 1, "high": 5}, 2.0),
    ],
    "lerobot": [
        Figure("lerobot.json", {}, 70.83333333333334 / 100),  # overall.pc_success
        Figure("lerobot.json", {"score": "sum_reward", "low": 0, "high": 200}, 131.95204166666667),
        Figure("lerobot.json", {"score": "max_reward"}, 0.6597666666666667),
    ],
    "lm-eval": [Figure(SUMS, {}, 0.25)],  # results of the file beside it
    "mlflow": [
        # EvaluationResult.metrics
        Figure("mlflow-table.json", {"score": "exact"}, 0.6),
        Figure("mlflow-table.json", {"score": "chars", "low": 0, "high": 2}, 1.0),
        Figure("mlflow-genai.jsonl", {"score": "exact"}, 0.6),
        Figure("mlflow-genai.jsonl", {"score": "chars"}, 0.5),
        Figure("mlflow-genai.jsonl", {"score": "graded"}, 0.75, "drop"),
    ],
    "openai-evals": [Figure("openai-evals.jsonl", {}, 0.6)],  # final_report.accuracy
    "phoenix": [
        # meanScore of the experiment's annotation summaries
        *(Figure(f"phoenix.{end}", {"score": "exact"}, 0.875, "drop") for end in ("json", "csv")),
        Figure("phoenix.csv", {"score": "length"}, 0.3125, "drop"),
    ],
    "promptfoo": [
        # results.stats, and the sums of results.prompts: 10 results
        Figure("promptfoo-shared.json", {"score": "success"}, 6 / 10),
        Figure("promptfoo-shared.json", {}, 6 / 10),
        Figure("promptfoo.jsonl", {}, 6 / 10),
        Figure("promptfoo.csv", {}, 6 / 10),
        Figure("promptfoo.csv", {"score": "named.short"}, 1.0, "drop"),
    ],
    "ragas": [
        # the printed EvaluationResult
        *(Figure(f"ragas.{end}", {"score": "exact_match"}, 0.4) for end in ("csv", "json")),
        Figure("ragas.csv", {"score": "string_present"}, 0.6),
    ],
    "jsonl": [Figure("rows.jsonl", {}, 0.5)],
    "csv": [Figure("rows.csv", {}, 0.5)],
    "parquet": [Figure("rows.parquet", {}, 0.5)],
}
"""Figures of each tool, by reader."""

FIRST = {reader: figures[0] if figures else Figure("label-studio.json", {}, 0) for reader, figures in FIGURES.items()}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """A function from the name of a file to a copy of it."""
    rows = [{"item": f"q{i}", "score": i % 2, "prompt": f"{i}?"} for i in range(4)]

    def copied(name: str) -> Path:
        path = tmp_path / name
        if name.endswith(".eval"):
            pytest.importorskip("zstandard", reason="Inspect compresses its archives by Zstandard")
        if name == "rows.jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        elif name == "rows.csv":
            lines = ["item,score,prompt", *(f"{row['item']},{row['score']},{row['prompt']}" for row in rows)]
            path.write_text("\n".join(lines), encoding="utf-8")
        elif name == "rows.parquet":
            pyarrow = pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            path.write_bytes((FILES / name).read_bytes())
            if name == SUMS:
                beside = "results_2026-11-29T02-02-01.174683.json"
                (tmp_path / beside).write_bytes((FILES / beside).read_bytes())
        return path

    return copied


def mean(found: Outcomes, missing: str) -> float:
    """The mean score over items, each the mean of its runs, as tools compute it: in the units of the scores."""
    if missing == "drop":
        items = found.items.mean
        share = float(items[~np.isnan(items)].mean())
    else:
        score = np.nan_to_num((found.score - found.low) / (found.high - found.low))
        share = float(score.mean())
    return found.low + share * (found.high - found.low)


@pytest.mark.parametrize(
    ("reader", "figure"),
    [(reader, figure) for reader, figures in FIGURES.items() for figure in figures],
    ids=lambda value: value if isinstance(value, str) else f"{value.file}-{value.keywords.get('score', '')}",
)
def test_figures_are_those_of_the_tool(file: Callable[[str], Path], reader: str, figure: Figure) -> None:
    path = file(figure.file)
    assert recognised(Document(path)) == reader
    assert mean(Outcomes.read(path, **figure.keywords), figure.missing) == pytest.approx(figure.value, abs=1e-12)


def test_figures_in_the_files_are_those_of_the_table() -> None:
    """The figures above that the files hold themselves."""
    lerobot = json.loads((FILES / "lerobot.json").read_text(encoding="utf-8"))["overall"]
    assert lerobot["pc_success"] == 100 * FIGURES["lerobot"][0].value
    assert lerobot["avg_sum_reward"] == FIGURES["lerobot"][1].value
    deepeval = json.loads((FILES / "deepeval.json").read_text(encoding="utf-8"))
    assert (deepeval["testPassed"], deepeval["testFailed"]) == (2, 4)
    assert np.mean(deepeval["metricsScores"][0]["scores"]) == pytest.approx(FIGURES["deepeval"][1].value)
    promptfoo = json.loads((FILES / "promptfoo-shared.json").read_text(encoding="utf-8"))["results"]
    assert [promptfoo["stats"][name] for name in ("successes", "failures", "errors")] == [6, 2, 2]
    assert [one["metrics"]["score"] for one in promptfoo["prompts"]] == [6]
    (report,) = [
        line for line in (FILES / "openai-evals.jsonl").read_text(encoding="utf-8").splitlines() if "final" in line
    ]
    assert json.loads(report)["final_report"]["accuracy"] == 0.6


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    **dict.fromkeys(READERS, cut(0.7)),
    "csv": lambda content: content + b'\nq9,"1',
    "jsonl": lambda content: content[:-9],
}
"""What damages the first file of each reader."""


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_damaged_file_with_a_remedy(file: Callable[[str], Path], reader: str) -> None:
    path = file(FIRST[reader].file)
    path.write_bytes(DAMAGED[reader](path.read_bytes()))
    with pytest.raises(RobustestError, match=r"Expected .*(Outcomes\.|Write it again|planned=)"):
        Outcomes.read(path, **FIRST[reader].keywords)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_keyword_that_it_does_not_take(file: Callable[[str], Path], reader: str) -> None:
    path, keywords = file(FIRST[reader].file), FIRST[reader].keywords
    with pytest.raises(UnknownNameError, match=r"Unknown keyword for this file 'colour'.*For example: Outcomes\.read"):
        Outcomes.read(path, **keywords, colour="red")


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_the_file_of_another(file: Callable[[str], Path], reader: str) -> None:
    """It reads no scores out of what it does not know, and the remedy is the reader that does."""
    other = FIRST["junit"] if reader not in ("junit",) else FIRST["lerobot"]
    with pytest.raises(RobustestError) as refused:
        Outcomes.read(file(other.file), reader=reader)
    assert executed(str(refused.value)) is not None


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_is_documented_and_its_file_is_too(reader: str) -> None:
    page = ROOT / "docs" / "outcomes.md"
    if not page.is_file():
        pytest.skip("the suite is run away from the checkout, without the pages")
    assert f"| `{reader}` |" in page.read_text(encoding="utf-8")
    readme = (FILES / "README.md").read_text(encoding="utf-8")
    assert reader in ("jsonl", "csv", "parquet") or f"`{FIRST[reader].file}`" in readme


def test_every_file_is_of_a_reader_and_in_the_readme() -> None:
    readme = (FILES / "README.md").read_text(encoding="utf-8")
    for path in FILES.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme


def executed(message: str) -> Outcomes | None:
    """Make the call at the end of a message, as a user would copy it; None if there is none."""
    start = message.rfind("Outcomes.read(")
    found = eval(message[start:], {"Outcomes": Outcomes}) if start >= 0 else None  # noqa: S307 - our own message
    assert found is None or isinstance(found, Outcomes)
    return found

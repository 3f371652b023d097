"""Readers of recorded outcomes: a module for each family of formats, and the table of all."""

# A reader makes a `Table` of a `Document`. It knows nothing of outcomes, of ranges or of what the user chooses: it
# tells the whole rows, their scores by metric, and what is damaged or absent; `robustest.data.outcomes` decides.
# CONTRIBUTING.md has the steps to add one.

from __future__ import annotations

from robustest.data.readers.deepeval import DEEPEVAL
from robustest.data.readers.document import Document
from robustest.data.readers.inspect_logs import INSPECT
from robustest.data.readers.junit import JUNIT
from robustest.data.readers.label_studio import LABEL_STUDIO
from robustest.data.readers.lerobot import LEROBOT
from robustest.data.readers.lm_eval import LM_EVAL
from robustest.data.readers.mlflow import MLFLOW
from robustest.data.readers.openai_evals import OPENAI_EVALS
from robustest.data.readers.promptfoo import PROMPTFOO
from robustest.data.readers.ragas import RAGAS
from robustest.data.readers.rows import ROWS
from robustest.data.readers.table import Format
from robustest.data.readers.traces import LANGFUSE, PHOENIX

READERS: dict[str, Format] = {
    "deepeval": DEEPEVAL,
    "inspect": INSPECT,
    "junit": JUNIT,
    "langfuse": LANGFUSE,
    "lerobot": LEROBOT,
    "lm-eval": LM_EVAL,
    "mlflow": MLFLOW,
    "openai-evals": OPENAI_EVALS,
    "phoenix": PHOENIX,
    "promptfoo": PROMPTFOO,
    "ragas": RAGAS,
    "label-studio": LABEL_STUDIO,
    **ROWS,
}
"""Formats by name, in the order in which they are recognised; packs add others by the hook `robustest_outcomes`."""


def recognised(document: Document) -> str:
    """Return the name of the format of a document.

    Raises:
        Mendable: no reader knows it.
    """
    for name, known in READERS.items():
        if known.recognises(document):
            return name
    raise document.no_rows()

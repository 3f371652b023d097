# Made by tests/type_checks/stubs.py of the signatures that run.

from hypothesis.strategies import SearchStrategy
from robustest.results import Result
from robustest.run.plan import Options
from robustest.tasks import Task
from typing import Any, Unpack

def assert_robust_to(
    model: object,
    data: object,
    strategy: SearchStrategy[Any],
    *,
    at_least: float,
    max_examples: int | None = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

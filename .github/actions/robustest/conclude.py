"""Says what became of the claims, and fails unless there are verdicts and nothing stands against them.

Reads ROBUSTEST_STATUS, pytest's exit code, and robust.json in ROBUSTEST_REPORT; writes conclusion and counts to
GITHUB_OUTPUT. Nothing but the standard library, as robustest itself may be what is broken.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

MEASURED = (0, 1, 5)
"""pytest's exit codes of a run that went to its end: all passed, some failed, there was none."""

SCHEMA = 5
"""Of robust.json; another was written by another robustest than this action's."""


def main() -> int:
    """The step's exit code."""
    code = os.environ.get("ROBUSTEST_STATUS", "")
    status = int(code) if code.isdecimal() else 2
    path = Path(os.environ.get("ROBUSTEST_REPORT", "")) / "robust.json"
    content = _content(path)
    counts = _counts(content)
    expected = content is not None and any(content["counts"].get(name) for name in ("xfailed", "xpassed", "tolerated"))
    status = status or (0 if content is None else content["pytest"]["exit"])  # the file may say more than the shell
    conclusion, why = _concluded(status, counts, read=content is not None, expected=expected)
    why = _of_another_schema(path) or why if content is None else why
    _write("GITHUB_OUTPUT", f"conclusion={conclusion}\n")
    _write("GITHUB_OUTPUT", "".join(f"{name}={count}\n" for name, count in counts.items()))
    if why:
        print(f"::error title=robustest::{why}")  # noqa: T201 - a workflow command
    if conclusion in ("empty", "error"):
        _write("GITHUB_STEP_SUMMARY", f"\n## robustness: {conclusion}\n\n{why}\n")
    return status or int(conclusion not in ("success", "inconclusive"))


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        readable = all(isinstance(content[name], kind) for name, kind in _PARTS.items())
        readable = readable and {int} >= {*map(type, (content["pytest"]["exit"], *content["counts"].values()))}
        return content if readable and content["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _of_another_schema(path: Path) -> str:
    """What to do about a file that another version of robustest wrote; empty if it is no such file."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    if type(schema) is not int or schema == SCHEMA:
        return ""
    remedy = "Upgrade the action" if schema > SCHEMA else "Upgrade robustest in the job's environment"
    return (
        f"The claims were measured, but this action reads schema {SCHEMA} of robust.json, and the installed robustest "
        f"writes schema {schema}. {remedy}: both have to be of one version."
    )


_PARTS = {"results": list, "counts": dict, "lost": list, "pytest": dict}


def _counts(content: dict[str, Any] | None) -> dict[str, int]:
    """Numbers of claims, as the reports have them; and of what could not be measured, did not end, or was lost."""
    if content is None:
        return dict.fromkeys(("passed", "failed", "inconclusive", "errors"), 0)
    found = content["counts"]
    return {
        "passed": found.get("passed", 0),
        "failed": found.get("failed", 0),
        "inconclusive": found.get("inconclusive", 0) + _let_off(content),
        "errors": found.get("error", 0) + found.get("unfinished", 0) + len(content["lost"]),
    }


def _let_off(content: dict[str, Any]) -> int:
    """Claims that are inconclusive, and skipped their tests, as a setting asks for."""
    rows = (row for row in content["results"] if row["result"] and row["ending"]["outcome"] == "skipped")
    return sum(row["result"]["verdict"] == "inconclusive" for row in rows)


def _concluded(status: int, counts: dict[str, int], *, read: bool, expected: bool) -> tuple[str, str]:
    """The conclusion, and why it is no success; pytest's exit code decides."""
    if not read or status not in MEASURED:
        return "error", f"The claims were not measured: pytest ended with exit code {status}. Its output says why."
    if not any(counts.values()) and not expected:
        return "empty", "No claim came to a verdict: there is no robustness test, or all were skipped. This is no pass."
    told = {name: f"{count} of the claims or tests: {name}." for name, count in counts.items() if count}
    open_, why = ("inconclusive", told["inconclusive"]) if counts["inconclusive"] else ("success", "")
    # A file with losses is red, whatever else it says.
    if status == 0 and not counts["failed"] and not counts["errors"]:
        return open_, ""
    if counts["failed"]:
        return "failure", told["failed"]
    if counts["errors"]:
        return "error", told["errors"]
    return (open_, why) if why else ("failure", "The claims hold, but a test failed for another reason: see above.")


def _write(variable: str, text: str) -> None:
    target = os.environ.get(variable)
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main())

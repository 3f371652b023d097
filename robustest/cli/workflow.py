"""The workflow for GitHub that `robustest init` writes: one file in the repository's root, a job for each service."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files

from robustest.cli.installation import Installation

FILE = ".github/workflows/robustness.yml"
_MARK = "# Written by `robustest init`"
_JOBS = "\njobs:\n"


def job_of(service: str) -> str:
    """Return the name of a service's job: letters, digits, "-" and "_"."""
    if not service:
        return "robustness"
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", service).strip("-")
    # Other characters are lost: the digest keeps two services apart.
    exact = plain == service.replace("/", "-")
    return f"robustness-{plain}" if exact else f"robustness-{plain}-{sha256(service.encode()).hexdigest()[:6]}"


def workflow(installation: Installation, service: str = "", python: str = "3.12") -> str:
    """Return the text of a workflow with one job.

    Args:
        installation: how the project is installed.
        service: folder of the project below the repository's, as a POSIX path; "" for the repository's itself.
        python: version of Python.
    """
    text = files("robustest.cli").joinpath("templates", "workflow.yml").read_text(encoding="utf-8")
    below = f"{service}/" if service else ""
    lines = "\n".join(f"          {line}" for line in installation.lines)
    told = f" of {service}" if service else ""
    folder = f"    defaults:\n      run:\n        working-directory: {_quoted(service)}\n" if service else ""
    values = {
        "job": job_of(service),
        "name": _quoted(f"claims about the model{told}"),
        "defaults\n": folder,
        "install": lines.lstrip(),
        "python-version": python,
        "python": installation.python,
        "options": installation.options,
        "store": _quoted(f"{below}.robustest"),
        **{one: f"{below}{one}" for one in ("robust.json", "robust-page", ".robustest/pictures")},
        **ACTIONS,
    }
    for name, value in values.items():
        text = text.replace(f"@{name.strip()}@" + ("\n" if name.endswith("\n") else ""), value)
    return text


def extended(text: str, installation: Installation, service: str, python: str) -> str | None:
    """Return a workflow with a further job; None if `init` did not write it; the same text if it has the job."""
    if not text.startswith(_MARK) or _JOBS not in text:
        return None
    if re.search(rf"^  {re.escape(job_of(service))}:$", text, re.MULTILINE):
        return text
    return f"{text.rstrip()}\n\n{workflow(installation, service, python).partition(_JOBS)[2]}"


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[\w.][\w./ -]*", text) and not re.fullmatch(r"[\d.]+|true|false|null|yes|no|on|off", text)
    return text if plain else "'" + text.replace("'", "''") + "'"


ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup-python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "restore": "actions/cache/restore@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
    "save": "actions/cache/save@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
    "upload": "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
}
"""Actions of the workflow, pinned to commits."""

"""The file of committed outcomes: what is in it, and how it is made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustest.cli.exits import Exit, missing, wrong
from robustest.cli.first_gates.pytest_run import meaning, run_pytest
from robustest.cli.screen import Screen
from robustest.pytest_plugin.options import in_ci


def show(file: str) -> int:
    """Print the entries of a baseline.

    Args:
        file: its path.

    Raises:
        Refused: there is no such file.
        StoreError: it is damaged, or no baseline.
    """
    from robustest.store.baselines import read

    path = Path(file)
    if not path.is_file():
        raise missing(f"Expected a baseline at {path} but there is none. Make it: robustest baseline update")
    entries = read(path)
    screen = Screen()
    for entry in sorted(entries.values(), key=lambda entry: (entry.test, entry.claim)):
        held, n = sum(entry.outcomes), entry.n
        share = f"{held / n:.3f} ({held} of {n} hold)" if n else "no samples"
        if entry.scores:
            share = f"mean score {sum(entry.scores) / n:.3f} of {n}"
        screen.write_line(f"{entry.test}  {entry.claim}")
        commit = f", commit {entry.commit}" if entry.commit else ""
        data = f"  data {entry.data[:12]}" if entry.data else ""
        model = f"  model {entry.model[:12]}" if entry.model else ""
        screen.write_line(f"    {share}  {entry.date}{commit}  seed {entry.seed}{data}{model}")
    screen.write_line(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} in {path}")
    return Exit.OK


def update(arguments: Sequence[str]) -> int:
    """Run the tests and write their outcomes to the baseline.

    Args:
        arguments: for pytest: which tests, and how.

    Returns:
        0 where all passed; else as pytest ended.

    Raises:
        Refused: this is CI: a gate that rewrites what it compares with lets everything through.
    """
    if in_ci():
        raise wrong(
            "Expected `robustest baseline update` on a person's machine but CI is set: a gate that rewrites what it "
            "compares with lets everything through. Update the baseline locally and commit it."
        )
    return meaning(run_pytest(["--robust-update-baseline", *arguments]))

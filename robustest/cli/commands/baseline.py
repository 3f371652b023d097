"""`robustest baseline`: print the file of committed outcomes, or write it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustest.cli.screen import Exit, Screen, counted, exit_of_pytest, missing, run_pytest, wrong
from robustest.pytest_plugin.options import in_ci


def show(file: str) -> int:
    """Print the entries of a baseline.

    Raises:
        Refused: there is no such file.
        StoreError: the file is damaged, or no baseline.
    """
    from robustest.store.baselines import read

    path = Path(file)
    if not path.is_file():
        raise missing(f"Expected a baseline at {path} but there is none. Write one: robustest baseline update")
    entries = read(path)
    screen = Screen()
    for entry in sorted(entries.values(), key=lambda entry: (entry.test, entry.claim)):
        held, n = sum(entry.outcomes), entry.n
        share = f"{held / n:.3f} ({held} of {n} hold)" if n else "no samples"
        if entry.scores:
            share = f"mean score {sum(entry.scores) / n:.3f} of {n}"
        commit = f", commit {entry.commit}" if entry.commit else ""
        data = f"  data {entry.data[:12]}" if entry.data else ""
        model = f"  model {entry.model[:12]}" if entry.model else ""
        screen.write_line(f"{entry.test}  {entry.claim}")
        screen.write_line(f"    {share}  {entry.date}{commit}  seed {entry.seed}{data}{model}")
    screen.write_line(f"{counted(len(entries), 'claim')} in {path}")
    return Exit.OK


def update(arguments: Sequence[str]) -> int:
    """Run the tests and write their outcomes to the baseline; `arguments` are pytest's.

    Raises:
        Refused: the environment variable CI is set.
    """
    if in_ci():
        raise wrong(
            "Expected `robustest baseline update` on a developer's machine but the environment variable CI is set. A "
            "gate that rewrites its own baseline never fails. Update the baseline locally and commit it."
        )
    return exit_of_pytest(run_pytest(["--robust-update-baseline", *arguments]))

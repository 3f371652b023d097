"""`robustest badge` and `robustest track`: a badge of a run's file, and its results in experiment trackers."""

from __future__ import annotations

from pathlib import Path

from robustest.cli.results_file import read_results
from robustest.cli.screen import Exit, Screen, exit_code
from robustest.reports import badge, trackers


def write_badge(file: str, output: str) -> int:
    """Write the badge of a run; return the exit code of `robustest show`, for a red run is no success here either.

    Raises:
        ConfigError: the output is neither .svg nor .json.
        Refused: the file is no whole file of results.
    """
    badge.check_path(output)
    run = read_results(Path(file))
    made = badge.badge_of(run.account)
    badge.write(output, made, run.account.service)
    Screen().write_line(f"wrote {output}: {badge.label_of(run.account.service)}: {made.message}", green=made.green)
    return exit_code(run.account.rows, run.account.lost, run.session)


def track(file: str, to: str) -> int:
    """Send a run to trackers; return the exit code of `robustest show`, or 3 if a tracker did not get it.

    Raises:
        ConfigError: a tracker is unknown, or its client is not installed.
        Refused: the file is no whole file of results.
    """
    targets = trackers.targets_of(to)
    run = read_results(Path(file))
    screen = Screen()
    deliveries = trackers.send(targets, run.account, run.settings, run.origin)
    for delivery in deliveries:
        screen.write_line(delivery.text, red=not delivery.arrived)
    if not all(delivery.arrived for delivery in deliveries):
        return Exit.MISSING
    return exit_code(run.account.rows, run.account.lost, run.session)

"""Hooks of the pack: its kinds of claims, and the verb `robustest study`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustest.extensions import Command, hookimpl

if TYPE_CHECKING:
    from robustest.packs import Kind


@hookimpl
def robustest_kinds() -> Sequence[Kind]:
    """Return the kinds of claims of the pack."""
    from robustest_people.cue_noticed import CUE_NOTICED
    from robustest_people.label_agreement import LABEL_AGREEMENT
    from robustest_people.label_quality import LABEL_QUALITY
    from robustest_people.multilabel_accuracy import MULTILABEL_ACCURACY
    from robustest_people.replication_gap import REPLICATION_GAP
    from robustest_people.selection_gap import SELECTION_GAP
    from robustest_people.simulatable import SIMULATABLE

    return (
        CUE_NOTICED,
        LABEL_AGREEMENT,
        LABEL_QUALITY,
        MULTILABEL_ACCURACY,
        REPLICATION_GAP,
        SELECTION_GAP,
        SIMULATABLE,
    )


@hookimpl
def robustest_commands() -> Sequence[Command]:
    """Return the verb `robustest study`."""
    from robustest_people.study_command import add_arguments, study

    return (Command(name="study", help="ask people: plan, serve, status, answers", arguments=add_arguments, run=study),)

"""Logs of episodes of LeRobot: `eval_info.json` of `lerobot-eval`."""

# Written by LeRobot 0.4.4 (a list of the episodes of each task), and by releases before tasks (`per_episode`). An item
# is an episode of a task: with one start seed, episodes of one number begin in the same scene. The metric is success;
# `score="sum_reward"` and `score="max_reward"` need the range of the rewards, `low=` and `high=`.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of
from robustest.errors import DataError

_COMMAND = "lerobot-eval --policy.path=POLICY --env.type=ENV --output_dir=FOLDER"
_METRICS = {"success": "successes", "sum_reward": "sum_rewards", "max_reward": "max_rewards"}


def _recognises(document: Document) -> bool:
    names = document.names
    return document.kind == "json" and ({"per_task", "overall"} <= names or {"per_episode", "aggregated"} <= names)


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    value = document.value if document.kind == "json" else None
    info = value if isinstance(value, dict) else {}
    rows, scores = [], Scores()
    for task in info.get("per_task") or ():
        metrics = task.get("metrics") if isinstance(task, dict) else None
        if not isinstance(metrics, dict) or not isinstance(metrics.get("successes"), list):
            raise _none(document)
        group, name = str(task.get("task_group")), f"{task.get('task_group')}/{task.get('task_id')}"
        for place in range(len(metrics["successes"])):
            rows.append({"item": f"{name}/episode {place}", "group": group, "task": name})
            scores.add({metric: _at(metrics.get(key), place) for metric, key in _METRICS.items()})
    for place, one in enumerate(info.get("per_episode") or ()):
        if not isinstance(one, dict) or "success" not in one:
            raise _none(document)
        number, seed = one.get("episode_ix", place), one.get("seed")
        rows.append({"item": f"episode {number}", "digest": "" if seed is None else f"seed {seed}", "task": ""})
        scores.add({metric: one.get(metric) for metric in _METRICS})
    if not rows:
        raise _none(document)
    overall = info.get("overall")
    episodes = overall.get("n_episodes") if isinstance(overall, dict) else None
    return Table(
        columns=columns_of(rows),
        scores=scores.by_metric,
        metric="success",
        announced=episodes if isinstance(episodes, int) else None,
    )


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else None


def _none(document: Document) -> Mendable:
    return Mendable(
        DataError(f"Expected episodes of LeRobot with their successes in {document.path} but there are none."),
        command=_COMMAND,
    )


LEROBOT = Format(_recognises, _read, "LeRobot", command=_COMMAND)

"""The pages that annotators see: templates of Jinja2 that work without a script."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby
from typing import Any

from robustest.errors import ConfigError
from robustest_people.studies.desk import Place
from robustest_people.studies.items import LABEL, Task, shown_label
from robustest_people.studies.study import Study

STATIC = {"study.css": "text/css", "keys.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Files that pages load, with their types."""


def extra_missing(error: ModuleNotFoundError) -> ConfigError:
    """What is said where the extra `study` is not installed."""
    return ConfigError(
        f"Expected Starlette, uvicorn and Jinja2 to serve a study but {error.name} is not installed. "
        "Install them: pip install 'robustest-people[study]'"
    )


def static(name: str) -> bytes:
    """A file that pages load."""
    return files("robustest_people.studies").joinpath("templates", name).read_bytes()


class Pages:
    """Renders the pages of a study.

    Args:
        study: whose.

    Raises:
        ConfigError: Jinja2 is not installed.
    """

    def __init__(self, study: Study) -> None:
        try:
            import jinja2
        except ModuleNotFoundError as error:
            raise extra_missing(error) from error
        self._study = study
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("robustest_people.studies"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"title": study.title, "about": study.about}

    def task(
        self,
        place: Place,
        page: int,
        entries: tuple[int, ...],
        *,
        token: str,
        problem: str = "",
        given: Mapping[str, str] | None = None,
    ) -> str:
        """A page that asks.

        Args:
            place: whose.
            page: its number.
            entries: what is on it, in the order shown.
            token: of the form.
            problem: what is missing from answers that came; empty for none.
            given: those answers, by the names of fields.
        """
        return self._render(
            f"{'boxes' if self._study.task is Task.CONTAINS else 'choices'}.html",
            place=place,
            page=page,
            groups=self._groups(entries),
            question=self._study.question.partition(LABEL),
            token=token,
            problem=problem,
            given=given or {},
        )

    def _groups(self, entries: tuple[int, ...]) -> list[dict[str, Any]]:
        """What is on a page: what is asked, and fields. Nothing in here tells an attention check from the rest."""
        study = self._study
        fields = [
            {
                "name": f"a{number}",
                "number": number,
                "image": study.numbers[entry],
                "choices": study.choices(entry),
                "asked": shown_label(study.items[entry], study.question),
            }
            for number, entry in enumerate(entries, 1)
        ]
        return [
            {"asked": asked, "fields": list(own)} for asked, own in groupby(fields, key=lambda field: field["asked"])
        ]

    def done(self, place: Place) -> str:
        """Said to an annotator whose pages are all answered or given up."""
        return self._render("done.html", place=place)

    def stop(self, place: Place, *, token: str) -> str:
        """Asks whether the rest shall be given up."""
        return self._render("stop.html", place=place, token=token)

    def problem(self, message: str, *, link: str = "") -> str:
        """Says why a request was refused, and where to go on."""
        return self._render("problem.html", message=message, link=link)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)

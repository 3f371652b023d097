"""Reports: results in, text and files out. No model, no tensor."""

from __future__ import annotations

from robustest.results import Result

__all__ = ["Result"]


def _card(result: Result) -> str | None:
    """Return the card of the page for a notebook; None without Jinja2."""
    from robustest.reports.html.page import card

    return card(result)


# Notebooks ask a value for its HTML by this name. A result draws nothing itself, so this floor gives it the method;
# whoever measures, or takes `Result` from robustest, has loaded it.
Result._repr_html_ = _card  # type: ignore[attr-defined]

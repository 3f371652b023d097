"""The report a reviewer opens: one HTML page that explains itself, with its pictures beside it or inside it."""

from __future__ import annotations

from robustest.reports.html.page import check as check
from robustest.reports.html.page import write as write

"""Studies with people: a plan of questions, pages that ask them, and a journal of answers.

Torch is not needed, and the extra `study` only to serve pages.
"""

from __future__ import annotations

from robustest_people.studies.export import Row as Row
from robustest_people.studies.export import rows_of as rows_of
from robustest_people.studies.study import Item as Item
from robustest_people.studies.study import Study as Study
from robustest_people.studies.study import Task as Task
from robustest_people.studies.study import create as create
from robustest_people.studies.study import open_study as open_study

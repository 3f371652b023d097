"""What many runs say of one claim: its entries in the order of commits, the first bad commit, and what changed when.

Plain values alone: no file is read here, and nothing is drawn.
"""

from robustest.history.claim import Claim as Claim
from robustest.history.course import Course as Course
from robustest.history.course import course_of as course_of
from robustest.history.course import timeline_of as timeline_of
from robustest.history.entry import Entry as Entry
from robustest.history.entry import Origin as Origin
from robustest.history.overview import courses_of as courses_of

"""Distribution shifts: pure functions of a batch, on whatever device it is."""

from robustest.shifts.registry import SHIFTS as SHIFTS
from robustest.shifts.registry import Shift as Shift
from robustest.shifts.registry import ShiftFunction as ShiftFunction
from robustest.shifts.registry import as_shift as as_shift

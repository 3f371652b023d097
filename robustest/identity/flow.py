"""The instructions of a code object and what follows what, whatever order the compiler laid them out in.

Where a line breaks decides on instructions that do nothing, on pairs that are fused, on which way a condition jumps
and on whether two returns share their code. Here each instruction stands with its successors: those that do nothing
are passed through, ends that are alike are one, and numbers are given along the flow.
"""

from __future__ import annotations

import dis
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from types import CodeType

from robustest.identity.plain import Unhashable, joined, part, simple

SILENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "RESUME"})
"""Instructions that do nothing."""

_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_VALUED = frozenset(dis.hasname) | frozenset(dis.hasconst) | frozenset(dis.hasfree)
_ONWARD = re.compile("JUMP_FORWARD|JUMP_BACKWARD(_NO_INTERRUPT)?")
_CONDITION = re.compile("POP_JUMP_(?:FORWARD_|BACKWARD_)?IF_(TRUE|FALSE|NONE|NOT_NONE)")
_FUSED = re.compile("((?:LOAD|STORE)_FAST(?:_BORROW)?)_((?:LOAD|STORE)_FAST(?:_BORROW)?)")
_ENDS = re.compile("RETURN_VALUE|RETURN_CONST|RAISE_VARARGS|RERAISE")
_PLACED = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""What the body of a class notes of its text and place."""

Step = tuple[bytes, tuple[int, ...]]
"""What an instruction does, without it where it does nothing, and the numbers of those that may come next."""


def flow(code: CodeType, text: Callable[[CodeType], bytes]) -> list[bytes]:
    """One part for each instruction, numbered along the flow.

    Args:
        code: the code object.
        text: gives the bytes that stand for a code object inside it.

    Raises:
        Unhashable: a constant of a kind that is not known.
    """
    steps = _steps(code, text)
    first, merged = _merged(steps)
    order = {first: 0}
    stack = [first]
    while stack:
        for follower in reversed(_take_new(merged[stack.pop()][1], order)):
            stack.append(follower)
    return [
        part("step", what + b"|" + ",".join(str(order[f]) for f in followers).encode())
        for what, followers in (merged[number] for number in order)
    ]


def _take_new(followers: tuple[int, ...], order: dict[int, int]) -> list[int]:
    new = [f for f in dict.fromkeys(followers) if f not in order]
    for follower in new:
        order[follower] = len(order)
    return new


def _merged(steps: list[Step]) -> tuple[int, dict[int, Step]]:
    """The first step, and the steps by number, without those that do nothing and with equal ends made one."""
    onward = [_landing(number, steps) for number in range(len(steps))]
    same: dict[Step, int] = {}
    stands_for: dict[int, int] = {}
    for number in reversed(range(len(steps))):
        what, followers = steps[number]
        if onward[number] == number:
            step = what, tuple(stands_for.get(onward[f], onward[f]) for f in followers)
            stands_for[number] = same.setdefault(step, number)
    kept = {n: step for step, n in same.items()}
    # A follower that was met later than its leader, by a jump back, may have been made one with another since.
    merged = {n: (what, tuple(stands_for[f] for f in followers)) for n, (what, followers) in kept.items()}
    return stands_for[onward[0]], merged


def _landing(number: int, steps: list[Step]) -> int:
    for _ in steps:
        what, followers = steps[number]
        if what:
            break
        number = followers[0]
    return number


def _steps(code: CodeType, text: Callable[[CodeType], bytes]) -> list[Step]:
    listed = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    starts = _starts(listed, len(code.co_code))
    handlers = _handlers(code.co_exceptiontable, starts)
    steps: list[Step] = []
    for step, after in zip_longest(listed, listed[1:]):
        noted = after is not None and after.argval in _PLACED and step.opcode in dis.hasconst
        value = partial(_value, step, code, text) if not noted else bytes
        for what, followers in _step(step, len(steps), starts, value):
            handler = handlers.get(len(steps)) if what else None
            steps.append((what, followers) if handler is None else (what + handler[0], (*followers, handler[1])))
    return [*steps, (b"end", ())]  # no code runs past its last instruction, but offsets may name the place


def _starts(listed: list[dis.Instruction], end: int) -> list[int]:
    """For each offset, the number of the step that begins there or next; a fused pair is two steps."""
    starts, number, offset = [], 0, 0
    for step in listed:
        starts += [number] * (step.offset + 1 - offset)
        offset = step.offset + 1
        number += 2 if _FUSED.fullmatch(step.opname) else 1
    return starts + [number] * (end + 1 - offset)


def _step(step: dis.Instruction, number: int, starts: list[int], value: Callable[[], bytes]) -> Iterator[Step]:
    name = step.opname
    if name in SILENT:
        yield b"", (number + 1,)
    elif _ONWARD.fullmatch(name):
        yield b"", (starts[step.argval],)
    elif condition := _CONDITION.fullmatch(name):
        yes, no = starts[step.argval], number + 1
        if condition[1] in ("FALSE", "NOT_NONE"):
            yes, no = no, yes
        yield part("if", b"none" if "NONE" in condition[1] else b"true"), (yes, no)
    elif step.opcode in _JUMPS:
        yield part("op", name.encode()), (number + 1, starts[step.argval])
    elif fused := _FUSED.fullmatch(name):
        arg = step.arg or 0
        yield part("op", fused[1].encode()) + _constant(arg >> 4), (number + 1,)
        yield part("op", fused[2].encode()) + _constant(arg & 15), (number + 2,)
    else:
        yield part("op", name.encode()) + value(), () if _ENDS.fullmatch(name) else (number + 1,)


def _value(step: dis.Instruction, code: CodeType, text: Callable[[CodeType], bytes]) -> bytes:
    if step.opname == "KW_NAMES":  # Python 3.11 does not look these up
        return _constant(code.co_consts[step.arg or 0])
    if isinstance(step.argval, CodeType):
        return text(step.argval)
    # Local variables have numbers: their names make no difference.
    return _constant(step.argval if step.opcode in _VALUED else step.arg)


def _constant(value: object) -> bytes:
    if isinstance(value, tuple):
        return joined("tuple", map(_constant, value))
    if isinstance(value, frozenset):
        return joined("frozenset", sorted(map(_constant, value)))
    if isinstance(value, slice):
        return joined("slice", map(_constant, (value.start, value.stop, value.step)))
    encoded = simple(value)
    if encoded is None:
        raise Unhashable(f"a constant of type {type(value).__name__} in the code")
    return encoded


def _handlers(table: bytes, starts: list[int]) -> dict[int, tuple[bytes, int]]:
    """For each step under a `try`, how the stack is left and which step handles an exception.

    The table is a list of numbers in groups of four, six bits a byte, as CPython's Objects/exception_handling_notes.txt
    says.
    """
    numbers, number = [], 0
    for byte in table:
        number = number << 6 | byte & 0x3F
        if not byte & 0x40:  # more of this number follows where the bit is set
            numbers.append(number)
            number = 0
    handlers = {}
    for start, length, target, depth in zip(*[iter(numbers)] * 4, strict=True):
        for covered in range(starts[2 * start], starts[2 * (start + length)]):
            handlers[covered] = part("try", b"%d" % depth), starts[2 * target]
    return handlers

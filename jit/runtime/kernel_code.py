"""LLVM IR of the kernels that guards are: each compares a scalar with the expected answer."""

from __future__ import annotations

from typing import Any

import numpy as np

# A kernel whose items are those of several launches, launch after launch.
# Record: number of launches, the function and the record of each, where each begins among the
# items, end
BATCH = """
define void @batch(ptr %slots, ptr %batch, i64 %begin, i64 %end) {
entry:
  %count = load i64, ptr %batch
  %functions = getelementptr i64, ptr %batch, i64 1
  %records = getelementptr i64, ptr %functions, i64 %count
  %starts = getelementptr i64, ptr %records, i64 %count
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %after ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %look, label %done
look:
  %i.next = add i64 %i, 1
  %start.at = getelementptr i64, ptr %starts, i64 %i
  %start = load i64, ptr %start.at
  %stop.at = getelementptr i64, ptr %starts, i64 %i.next
  %stop = load i64, ptr %stop.at
  %from = call i64 @llvm.smax.i64(i64 %begin, i64 %start)
  %to = call i64 @llvm.smin.i64(i64 %end, i64 %stop)
  %any = icmp slt i64 %from, %to
  br i1 %any, label %run, label %after
run:
  %function.at = getelementptr ptr, ptr %functions, i64 %i
  %function = load ptr, ptr %function.at
  %record.at = getelementptr ptr, ptr %records, i64 %i
  %record = load ptr, ptr %record.at
  %first = sub i64 %from, %start
  %last = sub i64 %to, %start
  call void %function(ptr %slots, ptr %record, i64 %first, i64 %last)
  br label %after
after:
  br label %next
done:
  ret void
}
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
"""

# How a guard reads a scalar of a dtype: type, as truth, as an integer.
_READINGS = {"bool": ("i8", "icmp ne i8 %value, 0", "zext i8 %value to i64")}
for _bits in (8, 16, 32, 64):
    for _name, _widen in (("int", "sext"), ("uint", "zext")):
        _whole = f"{_widen} i{_bits} %value to i64" if _bits < 64 else "add i64 %value, 0"
        _READINGS[f"{_name}{_bits}"] = f"i{_bits}", f"icmp ne i{_bits} %value, 0", _whole
_READINGS["float32"] = "float", "fcmp une float %value, 0.0", ""
_READINGS["float64"] = "double", "fcmp une double %value, 0.0", ""

GUARD = """
; a kernel whose record is (slot, expected answer)
define void @{name}(ptr %slots, ptr %record, i64 %begin, i64 %end) {{
  %number = load i64, ptr %record
  %expected.at = getelementptr i64, ptr %record, i64 1
  %expected = load i64, ptr %expected.at
  %slot = getelementptr ptr, ptr %slots, i64 %number
  %place = load ptr, ptr %slot
  %value = load {type}, ptr %place
  {answer}
  %same = icmp eq i64 %actual, %expected
  br i1 %same, label %done, label %missed
missed:
  store i64 2, ptr %slots
  br label %done
done:
  ret void
}}
"""


def guard_name(dtype: np.dtype[Any], expected: bool | int) -> str | None:  # noqa: FBT001 - data
    """The kernel that compares a scalar with an answer; None: Python has to do it."""
    truth = type(expected) is bool
    if dtype.name not in _READINGS or not (truth or _READINGS[dtype.name][2]):
        return None
    if not truth and not -(2**63) <= expected < 2**63:
        return None
    return f"guard_{'truth' if truth else 'value'}_{dtype.name}"


def guard_texts() -> dict[str, str]:
    """The text of each guard kernel by its name."""
    texts: dict[str, str] = {}
    for dtype, (type_, truth, whole) in _READINGS.items():
        name = f"guard_truth_{dtype}"
        answer = f"%true = {truth}\n  %actual = zext i1 %true to i64"
        texts[name] = GUARD.format(name=name, type=type_, answer=answer)
        if whole:
            name = f"guard_value_{dtype}"
            texts[name] = GUARD.format(name=name, type=type_, answer=f"%actual = {whole}")
    return texts

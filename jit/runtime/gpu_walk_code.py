"""LLVM IR that writes down what an array on a GPU is, in a walk over objects: see `walks`."""

from __future__ import annotations

from jit.runtime.gpu_entry_code import ARRAY, POINTER

STRUCTURES = f"""
%vector = type {{ ptr, ptr, ptr }}
%there = type {ARRAY}
%pointer = type {POINTER}
"""

THERE = f"""{STRUCTURES}
; what is told of an array on a GPU: as of others, with a bit that they lack, and its device
define internal void @describe.there(ptr %walk, ptr %array) {{
entry:
  %dtype.at = getelementptr %there, ptr %array, i32 0, i32 10
  %dtype = load ptr, ptr %dtype.at
  call void @write_lasting(ptr %walk, ptr %dtype)
  %begin.at = getelementptr %there, ptr %array, i32 0, i32 5, i32 0
  %begin = load ptr, ptr %begin.at
  %end.at = getelementptr %there, ptr %array, i32 0, i32 5, i32 1
  %end = load ptr, ptr %end.at
  %strides.at = getelementptr %there, ptr %array, i32 0, i32 6, i32 0
  %strides = load ptr, ptr %strides.at
  %whole.at = getelementptr %there, ptr %array, i32 0, i32 7
  %whole = load i32, ptr %whole.at
  %ordered = icmp ne i32 %whole, 0
  %first = ptrtoint ptr %begin to i64
  %last = ptrtoint ptr %end to i64
  %bytes = sub i64 %last, %first
  %rank = lshr i64 %bytes, 3
  %twice = shl i64 %rank, 1
  %ordered.wide = zext i1 %ordered to i64
  %both = or i64 %twice, %ordered.wide
  %here = or i64 %both, 65536
  call void @write(ptr %walk, i64 %here)
  %data.at = getelementptr %there, ptr %array, i32 0, i32 11
  %data = load ptr, ptr %data.at
  %device.at = getelementptr %pointer, ptr %data, i32 0, i32 4
  %device.short = load i32, ptr %device.at
  %device = zext i32 %device.short to i64
  call void @write(ptr %walk, i64 %device)
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %told ]
  %more = icmp slt i64 %i, %rank
  br i1 %more, label %one, label %done
one:
  %dim.at = getelementptr i64, ptr %begin, i64 %i
  %dim = load i64, ptr %dim.at
  call void @write_wide(ptr %walk, i64 %dim)
  br i1 %ordered, label %told, label %gap
gap:
  %stride.at = getelementptr i64, ptr %strides, i64 %i
  %stride = load i64, ptr %stride.at
  call void @write_wide(ptr %walk, i64 %stride)
  br label %told
told:
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}}
"""

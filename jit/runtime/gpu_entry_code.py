"""LLVM IR that reads the arrays of a call on a GPU: see `gpu_entry`."""

from __future__ import annotations

ARRAY = "{ i64, ptr, ptr, ptr, i64, %vector, %vector, i32, i32, i32, ptr, ptr, ptr }"
POINTER = "{ i64, ptr, ptr, i64, i32, ptr }"
LAYOUTS = f"""
%list = type {{ i64, ptr, i64, ptr }}                           ; ..., length, items
%vector = type {{ ptr, ptr, ptr }}                              ; C++'s: begin, end, end of storage
%array = type {ARRAY}
; references, type, methods, weak references, size, dims, strides,
; c-contiguous, f-contiguous, index of 32 bits, dtype, data, base
%pointer = type {POINTER}                  ; ..., address, device, memory

@_Py_NoneStruct = external global i8
declare ptr @PyLong_AsVoidPtr(ptr)
"""

STRUCTURES = f"""{LAYOUTS}
%plan = type {{ ptr, i64, ptr, ptr, i32 }}
; class of arrays, their number and rows, where addresses go, device
%row = type {{ i64, i64, ptr, i64, ptr, i64 }}
; how (0 as it lies, 1 copied, 2 not here), where its address goes, dtype, rank, dims, most
; references (0: any)

@PyList_Type = external global i8
declare ptr @PyLong_FromLongLong(i64)
"""

READ = """
; whether nobody but `most` holders refers to an array with memory of its own
define internal i1 @is.free(ptr %array, i64 %most) {
  %references = load i32, ptr %array
  %many = trunc i64 %most to i32
  %few = icmp ule i32 %references, %many
  %weak.at = getelementptr %array, ptr %array, i32 0, i32 3
  %weak = load ptr, ptr %weak.at
  %unseen = icmp eq ptr %weak, null
  %base.at = getelementptr %array, ptr %array, i32 0, i32 12
  %base = load ptr, ptr %base.at
  %own = icmp eq ptr %base, @_Py_NoneStruct
  %a = and i1 %few, %unseen
  %b = and i1 %a, %own
  ret i1 %b
}

; whether an array has this dtype and shape, and lies in one piece
define internal i1 @is.like(ptr %array, ptr %row) {
entry:
  %whole.at = getelementptr %array, ptr %array, i32 0, i32 7
  %whole = load i32, ptr %whole.at
  %scattered = icmp eq i32 %whole, 0
  br i1 %scattered, label %no, label %kind
kind:
  %wanted.at = getelementptr %row, ptr %row, i32 0, i32 2
  %wanted = load ptr, ptr %wanted.at
  %dtype.at = getelementptr %array, ptr %array, i32 0, i32 10
  %dtype = load ptr, ptr %dtype.at
  %right = icmp eq ptr %dtype, %wanted
  br i1 %right, label %ranks, label %no
ranks:
  %rank.at = getelementptr %row, ptr %row, i32 0, i32 3
  %rank = load i64, ptr %rank.at
  %begin.at = getelementptr %array, ptr %array, i32 0, i32 5, i32 0
  %begin = load ptr, ptr %begin.at
  %end.at = getelementptr %array, ptr %array, i32 0, i32 5, i32 1
  %end = load ptr, ptr %end.at
  %first = ptrtoint ptr %begin to i64
  %last = ptrtoint ptr %end to i64
  %bytes = sub i64 %last, %first
  %wanted.bytes = mul i64 %rank, 8
  %as.many = icmp eq i64 %bytes, %wanted.bytes
  br i1 %as.many, label %shape, label %no
shape:
  %dims.at = getelementptr %row, ptr %row, i32 0, i32 4
  %dims = load ptr, ptr %dims.at
  br label %next
next:
  %d = phi i64 [ 0, %shape ], [ %d.next, %extent ]
  %more = icmp slt i64 %d, %rank
  br i1 %more, label %extent, label %yes
extent:
  %here.at = getelementptr i64, ptr %begin, i64 %d
  %here = load i64, ptr %here.at
  %there.at = getelementptr i64, ptr %dims, i64 %d
  %there = load i64, ptr %there.at
  %d.next = add i64 %d, 1
  %same = icmp eq i64 %here, %there
  br i1 %same, label %next, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; Python's read(arrays): 0 if all lie where those of the call before lay (but for those that are
; copied), 1 if not, or -1 - the number of one that does not fit or that somebody else holds
define ptr @read(ptr %self, ptr %args, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %list = load ptr, ptr %args
  %items.at = getelementptr %list, ptr %list, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %length.at = getelementptr %list, ptr %list, i32 0, i32 2
  %length = load i64, ptr %length.at
  %class = load ptr, ptr %plan
  %number.at = getelementptr %plan, ptr %plan, i32 0, i32 1
  %number = load i64, ptr %number.at
  %rows.at = getelementptr %plan, ptr %plan, i32 0, i32 2
  %rows = load ptr, ptr %rows.at
  %places.at = getelementptr %plan, ptr %plan, i32 0, i32 3
  %places = load ptr, ptr %places.at
  %device.at = getelementptr %plan, ptr %plan, i32 0, i32 4
  %device = load i32, ptr %device.at
  %kind.at = getelementptr %list, ptr %list, i32 0, i32 1
  %kind = load ptr, ptr %kind.at
  %listed = icmp eq ptr %kind, @PyList_Type
  %same.length = icmp eq i64 %length, %number
  %as.many = and i1 %listed, %same.length
  br i1 %as.many, label %next, label %done
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %on ]
  %moved = phi i64 [ 0, %entry ], [ %moved.next, %on ]
  %more = icmp slt i64 %i, %number
  br i1 %more, label %one, label %done
one:
  %row = getelementptr %row, ptr %rows, i64 %i
  %how = load i64, ptr %row
  %ours = icmp ult i64 %how, 2
  br i1 %ours, label %look, label %on
look:
  %array.at = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %array.at
  %type.at = getelementptr %array, ptr %array, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %right = icmp eq ptr %type, %class
  br i1 %right, label %form, label %misfit
form:
  %like = call i1 @is.like(ptr %array, ptr %row)
  br i1 %like, label %gift, label %misfit
gift:
  %most.at = getelementptr %row, ptr %row, i32 0, i32 5
  %most = load i64, ptr %most.at
  %given = icmp ne i64 %most, 0
  br i1 %given, label %alone, label %place
alone:
  %free = call i1 @is.free(ptr %array, i64 %most)
  br i1 %free, label %place, label %misfit
place:
  %data.at = getelementptr %array, ptr %array, i32 0, i32 11
  %data = load ptr, ptr %data.at
  %lies.at = getelementptr %pointer, ptr %data, i32 0, i32 4
  %lies = load i32, ptr %lies.at
  %here = icmp eq i32 %lies, %device
  %address.at = getelementptr %pointer, ptr %data, i32 0, i32 3
  %address = load i64, ptr %address.at
  %odd = and i64 %address, 15
  %even = icmp eq i64 %odd, 0
  %some = icmp ne i64 %address, 0
  %a = and i1 %here, %even
  %good = and i1 %a, %some
  br i1 %good, label %put, label %misfit
put:
  %word.at = getelementptr %row, ptr %row, i32 0, i32 1
  %word = load i64, ptr %word.at
  %to = getelementptr i64, ptr %places, i64 %word
  %before = load i64, ptr %to
  store i64 %address, ptr %to
  %other.place = icmp ne i64 %before, %address
  %asis = icmp eq i64 %how, 0
  %new = and i1 %other.place, %asis
  %flag = zext i1 %new to i64
  br label %on
on:
  %flagged = phi i64 [ 0, %one ], [ %flag, %put ]
  %moved.next = or i64 %moved, %flagged
  %i.next = add i64 %i, 1
  br label %next
misfit:
  %other = sub i64 -1, %i
  br label %done
done:
  %answer = phi i64 [ -1, %entry ], [ %moved, %next ], [ %other, %misfit ]
  %said = call ptr @PyLong_FromLongLong(i64 %answer)
  ret ptr %said
}
"""

UNHELD = """
; Python's unheld(arrays): 1 if nobody but this list refers to its arrays, else 0
define ptr @unheld(ptr %self, ptr %args, i64 %count) {
entry:
  %list = load ptr, ptr %args
  %items.at = getelementptr %list, ptr %list, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %length.at = getelementptr %list, ptr %list, i32 0, i32 2
  %length = load i64, ptr %length.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %length
  br i1 %more, label %one, label %done
one:
  %array.at = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %array.at
  %references = load i32, ptr %array
  %only = icmp eq i32 %references, 1
  %weak.at = getelementptr %array, ptr %array, i32 0, i32 3
  %weak = load ptr, ptr %weak.at
  %unseen = icmp eq ptr %weak, null
  %alone = and i1 %only, %unseen
  %i.next = add i64 %i, 1
  br i1 %alone, label %next, label %done
done:
  %answer = phi i64 [ 1, %next ], [ 0, %one ]
  %said = call ptr @PyLong_FromLongLong(i64 %answer)
  ret ptr %said
}
"""


def code() -> str:
    """A module."""
    return "\n".join((STRUCTURES, READ, UNHELD))

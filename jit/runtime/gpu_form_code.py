"""LLVM IR that makes a key of the forms of arrays on a GPU: see `gpu_launches`."""

from __future__ import annotations

MOST_INPUTS, MOST_FORM = 16, 256  # arrays, and words that say what they are

# Each input says on its own how many words are of it, so different forms are different words.
FORM = """
; the words of an array from a place on; the next place. Its address goes where it belongs.
define internal i64 @array.form(ptr %array, ptr %form, i64 %start, ptr %address) {
entry:
  %dtype.at = getelementptr %array, ptr %array, i32 0, i32 10
  %dtype = load i64, ptr %dtype.at
  %data.at = getelementptr %array, ptr %array, i32 0, i32 11
  %data = load ptr, ptr %data.at
  %place.at = getelementptr %pointer, ptr %data, i32 0, i32 3
  %place = load i64, ptr %place.at
  store i64 %place, ptr %address
  %device.at = getelementptr %pointer, ptr %data, i32 0, i32 4
  %device.short = load i32, ptr %device.at
  %device = zext i32 %device.short to i64
  %begin.at = getelementptr %array, ptr %array, i32 0, i32 5, i32 0
  %begin = load ptr, ptr %begin.at
  %end.at = getelementptr %array, ptr %array, i32 0, i32 5, i32 1
  %end = load ptr, ptr %end.at
  %first = ptrtoint ptr %begin to i64
  %last = ptrtoint ptr %end to i64
  %bytes = sub i64 %last, %first
  %rank = lshr i64 %bytes, 3
  %whole.at = getelementptr %array, ptr %array, i32 0, i32 7
  %whole = load i32, ptr %whole.at
  %scattered = icmp eq i32 %whole, 0
  %gaps = zext i1 %scattered to i64
  %strides.at = getelementptr %array, ptr %array, i32 0, i32 6, i32 0
  %strides = load ptr, ptr %strides.at
  %high = shl i64 %device, 32
  %ranks = shl i64 %rank, 1
  %low = or i64 %ranks, %gaps
  %both = or i64 %high, %low
  %dtype.to = getelementptr i64, ptr %form, i64 %start
  store i64 %dtype, ptr %dtype.to
  %second = add i64 %start, 1
  %both.to = getelementptr i64, ptr %form, i64 %second
  store i64 %both, ptr %both.to
  %dims.from = add i64 %start, 2
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %on ]
  %at = phi i64 [ %dims.from, %entry ], [ %at.next, %on ]
  %more = icmp slt i64 %i, %rank
  br i1 %more, label %one, label %done
one:
  %dim.at = getelementptr i64, ptr %begin, i64 %i
  %dim = load i64, ptr %dim.at
  %dim.to = getelementptr i64, ptr %form, i64 %at
  store i64 %dim, ptr %dim.to
  %behind = add i64 %at, 1
  br i1 %scattered, label %gap, label %on
gap:
  %stride.at = getelementptr i64, ptr %strides, i64 %i
  %stride = load i64, ptr %stride.at
  %stride.to = getelementptr i64, ptr %form, i64 %behind
  store i64 %stride, ptr %stride.to
  %behind.it = add i64 %behind, 1
  br label %on
on:
  %at.next = phi i64 [ %behind, %one ], [ %behind.it, %gap ]
  %i.next = add i64 %i, 1
  br label %next
done:
  ret i64 %at
}

; how many words say what the arrays of a list are: 0 if they cannot. The addresses of arrays go
; where they belong; those of numbers are 0 there.
define internal i64 @form.of(ptr %plan, ptr %list, ptr %form, ptr %addresses) {
entry:
  %class = load ptr, ptr %plan
  %float.at = getelementptr %plan, ptr %plan, i32 0, i32 9
  %float = load ptr, ptr %float.at
  %int.at = getelementptr %plan, ptr %plan, i32 0, i32 10
  %int = load ptr, ptr %int.at
  %bool.at = getelementptr %plan, ptr %plan, i32 0, i32 11
  %bool = load ptr, ptr %bool.at
  %length.at = getelementptr %list, ptr %list, i32 0, i32 2
  %length = load i64, ptr %length.at
  %items.at = getelementptr %list, ptr %list, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %few = icmp ule i64 %length, MOST_INPUTS
  br i1 %few, label %next, label %no
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %on ]
  %at = phi i64 [ 0, %entry ], [ %at.next, %on ]
  %together = phi i64 [ 0, %entry ], [ %together.next, %on ]
  %more = icmp slt i64 %i, %length
  br i1 %more, label %one, label %done
one:
  %item.at = getelementptr ptr, ptr %items, i64 %i
  %item = load ptr, ptr %item.at
  %address = getelementptr i64, ptr %addresses, i64 %i
  store i64 0, ptr %address
  %type.at = getelementptr %array, ptr %item, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %class
  br i1 %is.array, label %room, label %number
room:
  %begin.at = getelementptr %array, ptr %item, i32 0, i32 5, i32 0
  %begin = load ptr, ptr %begin.at
  %end.at = getelementptr %array, ptr %item, i32 0, i32 5, i32 1
  %end = load ptr, ptr %end.at
  %first = ptrtoint ptr %begin to i64
  %last = ptrtoint ptr %end to i64
  %bytes = sub i64 %last, %first
  %words = lshr i64 %bytes, 2
  %up.to = add i64 %at, %words
  %fits = icmp slt i64 %up.to, ROOM
  br i1 %fits, label %array, label %no
array:
  %array.next = call i64 @array.form(ptr %item, ptr %form, i64 %at, ptr %address)
  %place = load i64, ptr %address
  br label %on
number:
  %a = icmp eq ptr %type, %float
  %b = icmp eq ptr %type, %int
  %c = icmp eq ptr %type, %bool
  %ab = or i1 %a, %b
  %abc = or i1 %ab, %c
  %left = icmp slt i64 %at, ROOM
  %good = and i1 %abc, %left
  br i1 %good, label %weak, label %no
weak:
  %word.to = getelementptr ptr, ptr %form, i64 %at
  store ptr %type, ptr %word.to
  %weak.next = add i64 %at, 1
  br label %on
on:
  %at.next = phi i64 [ %array.next, %array ], [ %weak.next, %weak ]
  %taken = phi i64 [ %place, %array ], [ 0, %weak ]
  %together.next = or i64 %together, %taken
  %i.next = add i64 %i, 1
  br label %next
done:
  %odd = and i64 %together, 15
  %odd.to = getelementptr i64, ptr %form, i64 %at
  store i64 %odd, ptr %odd.to
  %count = add i64 %at, 1
  ret i64 %count
no:
  ret i64 0
}

; Python's form(arrays): what is equal for arrays that are alike; None of others
define ptr @form(ptr %self, ptr %args, i64 %ignored) {
entry:
  %form = alloca [MOST_FORM x i64], align 8
  %addresses = alloca [MOST_INPUTS x i64], align 8
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %list = load ptr, ptr %args
  %count = call i64 @form.of(ptr %plan, ptr %list, ptr %form, ptr %addresses)
  %none = icmp eq i64 %count, 0
  br i1 %none, label %no, label %yes
yes:
  %bytes = shl i64 %count, 3
  %key = call ptr @PyBytes_FromStringAndSize(ptr %form, i64 %bytes)
  ret ptr %key
no:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}
"""

NUMBERS = """
; puts the addresses of numbers where they belong; whether all are known
define internal i1 @numbers(ptr %plan, ptr %list, ptr %known, ptr %addresses) {
entry:
  %bits = alloca i64, align 8
  %wide = alloca i32, align 4
  %class = load ptr, ptr %plan
  %float.at = getelementptr %plan, ptr %plan, i32 0, i32 9
  %float = load ptr, ptr %float.at
  %length.at = getelementptr %list, ptr %list, i32 0, i32 2
  %length = load i64, ptr %length.at
  %items.at = getelementptr %list, ptr %list, i32 0, i32 3
  %items = load ptr, ptr %items.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %on ]
  %more = icmp slt i64 %i, %length
  br i1 %more, label %one, label %yes
one:
  %item.at = getelementptr ptr, ptr %items, i64 %i
  %item = load ptr, ptr %item.at
  %type.at = getelementptr %array, ptr %item, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %class
  br i1 %is.array, label %on, label %number
number:
  %is.float = icmp eq ptr %type, %float
  br i1 %is.float, label %real, label %whole
real:
  %value = call double @PyFloat_AsDouble(ptr %item)
  store double %value, ptr %bits
  br label %look
whole:
  store i32 0, ptr %wide
  %integer = call i64 @PyLong_AsLongLongAndOverflow(ptr %item, ptr %wide)
  store i64 %integer, ptr %bits
  %over = load i32, ptr %wide
  %short = icmp eq i32 %over, 0
  br i1 %short, label %look, label %no
look:
  %key = call ptr @PyBytes_FromStringAndSize(ptr %bits, i64 8)
  %lacking = icmp eq ptr %key, null
  br i1 %lacking, label %no, label %ask
ask:
  %found = call ptr @PyDict_GetItemWithError(ptr %known, ptr %key)
  call void @Py_DecRef(ptr %key)
  %unknown = icmp eq ptr %found, null
  br i1 %unknown, label %no, label %put
put:
  %place = call i64 @PyLong_AsLongLong(ptr %found)
  %to = getelementptr i64, ptr %addresses, i64 %i
  store i64 %place, ptr %to
  br label %on
on:
  %i.next = add i64 %i, 1
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}
"""


SIZES = {
    "MOST_INPUTS": MOST_INPUTS,
    "MOST_FORM": MOST_FORM,
    "ROOM": MOST_FORM - 4,  # of what is behind an array's extents and strides
}

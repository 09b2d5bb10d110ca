"""LLVM IR that opens and makes boxes: see `boxes`."""

from __future__ import annotations

BOXES = """
declare ptr @PyType_GenericAlloc(ptr, i64)

; Python's opened(*boxes): a list of their arrays; None if one is of another class, holds another
; thing than an array, or has something in a slot that must hold None
define ptr @opened(ptr %self, ptr %boxes, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %class = load ptr, ptr %plan
  %place.at = getelementptr %box, ptr %plan, i32 0, i32 1
  %place = load i64, ptr %place.at
  %nones.at = getelementptr %box, ptr %plan, i32 0, i32 2
  %nones = load i64, ptr %nones.at
  %arrays = call ptr @PyList_New(i64 %count)
  %lacking = icmp eq ptr %arrays, null
  br i1 %lacking, label %failed, label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %take ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %box.at = getelementptr ptr, ptr %boxes, i64 %i
  %box = load ptr, ptr %box.at
  %type.at = getelementptr %object, ptr %box, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %right = icmp eq ptr %type, %class
  br i1 %right, label %ask, label %other
ask:
  %k = phi i64 [ 0, %one ], [ %k.next, %look ]
  %unasked = icmp slt i64 %k, %nones
  br i1 %unasked, label %look, label %inside
look:
  %number.at = getelementptr %box, ptr %plan, i32 0, i32 3, i64 %k
  %number = load i64, ptr %number.at
  %slot.at = getelementptr ptr, ptr %box, i64 %number
  %slot = load ptr, ptr %slot.at
  %none = icmp eq ptr %slot, @_Py_NoneStruct
  %k.next = add i64 %k, 1
  br i1 %none, label %ask, label %other
inside:
  %array.at = getelementptr ptr, ptr %box, i64 %place
  %array = load ptr, ptr %array.at
  %unset = icmp eq ptr %array, null
  br i1 %unset, label %other, label %kind
kind:
  %array.type.at = getelementptr %object, ptr %array, i32 0, i32 1
  %array.type = load ptr, ptr %array.type.at
  %is.array = icmp eq ptr %array.type, @PyArray_Type
  br i1 %is.array, label %take, label %other
take:
  call void @Py_IncRef(ptr %array)
  %ignored = call i32 @PyList_SetItem(ptr %arrays, i64 %i, ptr %array)
  %i.next = add i64 %i, 1
  br label %next
other:
  call void @Py_DecRef(ptr %arrays)
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
done:
  ret ptr %arrays
failed:                                                         ; Python's exception is set
  ret ptr null
}

; Python's boxed(*objects): a list of new boxes around them, with None in the slots beside
define ptr @boxed(ptr %self, ptr %objects, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %class = load ptr, ptr %plan
  %place.at = getelementptr %box, ptr %plan, i32 0, i32 1
  %place = load i64, ptr %place.at
  %nones.at = getelementptr %box, ptr %plan, i32 0, i32 2
  %nones = load i64, ptr %nones.at
  %made = call ptr @PyList_New(i64 %count)
  %lacking = icmp eq ptr %made, null
  br i1 %lacking, label %failed, label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %keep ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %box = call ptr @PyType_GenericAlloc(ptr %class, i64 0)
  %missing = icmp eq ptr %box, null
  br i1 %missing, label %drop, label %fill
fill:
  %object.at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object.at
  call void @Py_IncRef(ptr %object)
  %inside.at = getelementptr ptr, ptr %box, i64 %place
  store ptr %object, ptr %inside.at
  br label %empty
empty:
  %k = phi i64 [ 0, %fill ], [ %k.next, %set ]
  %unset = icmp slt i64 %k, %nones
  br i1 %unset, label %set, label %keep
set:
  %number.at = getelementptr %box, ptr %plan, i32 0, i32 3, i64 %k
  %number = load i64, ptr %number.at
  %slot.at = getelementptr ptr, ptr %box, i64 %number
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  store ptr @_Py_NoneStruct, ptr %slot.at
  %k.next = add i64 %k, 1
  br label %empty
keep:
  %ignored = call i32 @PyList_SetItem(ptr %made, i64 %i, ptr %box)
  %i.next = add i64 %i, 1
  br label %next
drop:
  call void @Py_DecRef(ptr %made)
  ret ptr null
done:
  ret ptr %made
failed:                                                         ; Python's exception is set
  ret ptr null
}
"""

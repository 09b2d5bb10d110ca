"""LLVM IR that makes boxes and notes how they came to be: see `notes`."""

from __future__ import annotations

NOTES = """
%note = type { ptr, i64, i64, i64, ptr, i64, i64, i64, i64, i64, i64, ptr, i64, ptr, i64,
  ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr }
;  0 class of boxes, and numbers of their words: array, record, symbol
;  4 class of records, and of their words: op, inputs, attrs, tick, root, types
; 11 class of ends, and of parts, each with the number of the word that marks roots
; 15 clock; who is asked, and two names: whether to note, for whom; the name of what an op says
; 20 Python's function for all else; True and False, the classes of floats, ints and tuples
declare ptr @PyObject_GetAttr(ptr, ptr)
declare ptr @PyIter_Next(ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)

; of inputs: 2 if one has a root, 1 if one has a record, 0 if none has, -1 if one is unusual
define internal i64 @origins(ptr %note, ptr %inputs) {
entry:
  %tuple.at = getelementptr %note, ptr %note, i32 0, i32 25
  %tuple.class = load ptr, ptr %tuple.at
  %inputs.class = call ptr @class(ptr %inputs)
  %right = icmp eq ptr %inputs.class, %tuple.class
  br i1 %right, label %read, label %unusual
read:
  %count.at = getelementptr %tuple, ptr %inputs, i32 0, i32 2
  %count = load i64, ptr %count.at
  %box.class = load ptr, ptr %note
  %record.at = getelementptr %note, ptr %note, i32 0, i32 4
  %record.class = load ptr, ptr %record.at
  %end.at = getelementptr %note, ptr %note, i32 0, i32 11
  %end.class = load ptr, ptr %end.at
  %part.at = getelementptr %note, ptr %note, i32 0, i32 13
  %part.class = load ptr, ptr %part.at
  %true.at = getelementptr %note, ptr %note, i32 0, i32 21
  %true = load ptr, ptr %true.at
  %float.at = getelementptr %note, ptr %note, i32 0, i32 23
  %float.class = load ptr, ptr %float.at
  %int.at = getelementptr %note, ptr %note, i32 0, i32 24
  %int.class = load ptr, ptr %int.at
  br label %next
next:
  %i = phi i64 [ 0, %read ], [ %i.next, %on ]
  %found = phi i64 [ 0, %read ], [ %found.next, %on ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %input.at = getelementptr %tuple, ptr %inputs, i32 0, i32 3, i64 %i
  %input = load ptr, ptr %input.at
  %class = call ptr @class(ptr %input)
  %is.box = icmp eq ptr %class, %box.class
  br i1 %is.box, label %box, label %number
number:
  %is.float = icmp eq ptr %class, %float.class
  %is.int = icmp eq ptr %class, %int.class
  %is.number = or i1 %is.float, %is.int
  br i1 %is.number, label %on, label %unusual
box:
  %origin = call ptr @slot(ptr %note, i32 2, ptr %input)
  %unset = icmp eq ptr %origin, null
  br i1 %unset, label %unusual, label %set
set:
  %none = icmp eq ptr %origin, @_Py_NoneStruct
  br i1 %none, label %on, label %kind
kind:
  %origin.class = call ptr @class(ptr %origin)
  %is.record = icmp eq ptr %origin.class, %record.class
  %is.end = icmp eq ptr %origin.class, %end.class
  %is.part = icmp eq ptr %origin.class, %part.class
  %whole = or i1 %is.record, %is.end
  %known = or i1 %whole, %is.part
  %last = select i1 %is.end, i32 12, i32 14
  %where = select i1 %is.record, i32 9, i32 %last
  br i1 %known, label %ask, label %unusual
ask:
  %root = call ptr @slot(ptr %note, i32 %where, ptr %origin)
  %rooted = icmp eq ptr %root, %true
  br i1 %rooted, label %done, label %on
on:
  %found.next = phi i64 [ %found, %number ], [ %found, %set ], [ 1, %ask ]
  %i.next = add i64 %i, 1
  br label %next
done:
  %said = phi i64 [ %found, %next ], [ 2, %ask ]
  ret i64 %said
unusual:
  ret i64 -1
}

; whether an attribute is true (1) or not (0); -1: Python's exception is set
define internal i64 @is_true(ptr %note, ptr %object, i32 %name) {
entry:
  %name.at = getelementptr ptr, ptr %note, i32 %name
  %key = load ptr, ptr %name.at
  %value = call ptr @PyObject_GetAttr(ptr %object, ptr %key)
  %failed = icmp eq ptr %value, null
  br i1 %failed, label %bad, label %good
good:
  %true.at = getelementptr %note, ptr %note, i32 0, i32 21
  %true = load ptr, ptr %true.at
  %is.true = icmp eq ptr %value, %true
  %one = zext i1 %is.true to i64
  call void @Py_DecRef(ptr %value)
  ret i64 %one
bad:
  ret i64 -1
}

; whether anybody is there for whom to note
define internal i64 @is_watched(ptr %note, ptr %context) {
entry:
  %name.at = getelementptr %note, ptr %note, i32 0, i32 18
  %key = load ptr, ptr %name.at
  %value = call ptr @PyObject_GetAttr(ptr %context, ptr %key)
  %failed = icmp eq ptr %value, null
  br i1 %failed, label %bad, label %good
good:
  %length.at = getelementptr %tuple, ptr %value, i32 0, i32 2
  %length = load i64, ptr %length.at
  %some = icmp sgt i64 %length, 0
  %one = zext i1 %some to i64
  call void @Py_DecRef(ptr %value)
  ret i64 %one
bad:
  ret i64 -1
}

define internal void @put_slot(ptr %note, i32 %which, ptr %object, ptr %value) {
  %word.at = getelementptr i64, ptr %note, i32 %which
  %word = load i64, ptr %word.at
  %slot = getelementptr ptr, ptr %object, i64 %word
  call void @Py_IncRef(ptr %value)
  store ptr %value, ptr %slot
  ret void
}

; a new record; null if there is no memory
define internal ptr @record(ptr %note, ptr %args, i64 %kind) {
entry:
  %class.at = getelementptr %note, ptr %note, i32 0, i32 4
  %class = load ptr, ptr %class.at
  %clock.at = getelementptr %note, ptr %note, i32 0, i32 15
  %clock = load ptr, ptr %clock.at
  %tick = call ptr @PyIter_Next(ptr %clock)
  %stopped = icmp eq ptr %tick, null
  br i1 %stopped, label %bad, label %make
make:
  %record = call ptr @PyType_GenericAlloc(ptr %class, i64 0)
  %lacking = icmp eq ptr %record, null
  br i1 %lacking, label %drop, label %fill
fill:
  %op = load ptr, ptr %args
  call void @put_slot(ptr %note, i32 5, ptr %record, ptr %op)
  %inputs.at = getelementptr ptr, ptr %args, i64 1
  %inputs = load ptr, ptr %inputs.at
  call void @put_slot(ptr %note, i32 6, ptr %record, ptr %inputs)
  %attrs.at = getelementptr ptr, ptr %args, i64 2
  %attrs = load ptr, ptr %attrs.at
  call void @put_slot(ptr %note, i32 7, ptr %record, ptr %attrs)
  call void @put_slot(ptr %note, i32 8, ptr %record, ptr %tick)
  call void @Py_DecRef(ptr %tick)
  %rooted = icmp eq i64 %kind, 2
  %which = select i1 %rooted, i32 21, i32 22
  %root.at = getelementptr ptr, ptr %note, i32 %which
  %root = load ptr, ptr %root.at
  call void @put_slot(ptr %note, i32 9, ptr %record, ptr %root)
  call void @put_slot(ptr %note, i32 10, ptr %record, ptr @_Py_NoneStruct)
  ret ptr %record
drop:
  call void @Py_DecRef(ptr %tick)
  ret ptr null
bad:
  ret ptr null
}

; what stands in the new box for how it came to be: a new reference, null if Python failed
define internal ptr @noted_as(ptr %note, ptr %args) {
entry:
  %inputs.at = getelementptr ptr, ptr %args, i64 1
  %inputs = load ptr, ptr %inputs.at
  %kind = call i64 @origins(ptr %note, ptr %inputs)
  switch i64 %kind, label %ask [ i64 0, label %nothing
                                 i64 -1, label %python ]
ask:
  %context.at = getelementptr %note, ptr %note, i32 0, i32 16
  %context = load ptr, ptr %context.at
  %recording = call i64 @is_true(ptr %note, ptr %context, i32 17)
  switch i64 %recording, label %failed [ i64 1, label %who
                                         i64 0, label %python ]
who:
  %rooted = icmp eq i64 %kind, 2
  br i1 %rooted, label %flows, label %others
others:
  %watched = call i64 @is_watched(ptr %note, ptr %context)
  switch i64 %watched, label %failed [ i64 1, label %flows
                                       i64 0, label %nothing ]
flows:
  %op = load ptr, ptr %args
  %smooth = call i64 @is_true(ptr %note, ptr %op, i32 19)
  switch i64 %smooth, label %failed [ i64 1, label %make
                                      i64 0, label %python ]
make:
  %record = call ptr @record(ptr %note, ptr %args, i64 %kind)
  ret ptr %record
nothing:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
python:
  %python.at = getelementptr %note, ptr %note, i32 0, i32 20
  %function = load ptr, ptr %python.at
  %said = call ptr @PyObject_Vectorcall(ptr %function, ptr %args, i64 3, ptr null)
  ret ptr %said
failed:
  ret ptr null
}

; Python's noted(op, inputs, attrs, array): a new box that holds the array
define ptr @noted(ptr %self, ptr %args, i64 %ignored) {
entry:
  %note = call ptr @PyLong_AsVoidPtr(ptr %self)
  %class = load ptr, ptr %note
  %box = call ptr @PyType_GenericAlloc(ptr %class, i64 0)
  %lacking = icmp eq ptr %box, null
  br i1 %lacking, label %failed, label %fill
fill:
  %array.at = getelementptr ptr, ptr %args, i64 3
  %array = load ptr, ptr %array.at
  call void @put_slot(ptr %note, i32 1, ptr %box, ptr %array)
  call void @put_slot(ptr %note, i32 3, ptr %box, ptr @_Py_NoneStruct)
  %origin = call ptr @noted_as(ptr %note, ptr %args)
  %bad = icmp eq ptr %origin, null
  br i1 %bad, label %drop, label %done
done:
  call void @put_slot(ptr %note, i32 2, ptr %box, ptr %origin)
  call void @Py_DecRef(ptr %origin)
  ret ptr %box
drop:
  call void @Py_DecRef(ptr %box)
  ret ptr null
failed:                                                         ; Python's exception is set
  ret ptr null
}
"""

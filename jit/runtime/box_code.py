"""LLVM IR that opens and makes boxes: see `boxes`."""

from __future__ import annotations

BOXES = """
declare ptr @PyType_GenericAlloc(ptr, i64)

; the array in a box, not a new reference; null if the box is of another class, holds another thing
; than an array of the class asked for, or has something in a slot that must hold None
define internal ptr @array_in(ptr %plan, ptr %box) {
entry:
  %class = load ptr, ptr %plan
  %type = call ptr @class(ptr %box)
  %right = icmp eq ptr %type, %class
  br i1 %right, label %marks, label %other
marks:
  %nones.at = getelementptr %box, ptr %plan, i32 0, i32 3
  %nones = load i64, ptr %nones.at
  br label %ask
ask:
  %k = phi i64 [ 0, %marks ], [ %k.next, %look ]
  %unasked = icmp slt i64 %k, %nones
  br i1 %unasked, label %look, label %inside
look:
  %number.at = getelementptr %box, ptr %plan, i32 0, i32 4, i64 %k
  %number = load i64, ptr %number.at
  %slot.at = getelementptr ptr, ptr %box, i64 %number
  %slot = load ptr, ptr %slot.at
  %none = icmp eq ptr %slot, @_Py_NoneStruct
  %k.next = add i64 %k, 1
  br i1 %none, label %ask, label %other
inside:
  %place.at = getelementptr %box, ptr %plan, i32 0, i32 2
  %place = load i64, ptr %place.at
  %array.at = getelementptr ptr, ptr %box, i64 %place
  %array = load ptr, ptr %array.at
  %unset = icmp eq ptr %array, null
  br i1 %unset, label %other, label %kind
kind:
  %inner.at = getelementptr %box, ptr %plan, i32 0, i32 1
  %inner = load ptr, ptr %inner.at
  %array.type = call ptr @class(ptr %array)
  %is.array = icmp eq ptr %array.type, %inner
  br i1 %is.array, label %found, label %other
found:
  ret ptr %array
other:
  ret ptr null
}

; a new box around an object, whose reference becomes the box's, with None in the slots beside; null
; if there is no memory
define internal ptr @box_around(ptr %plan, ptr %object) {
entry:
  %class = load ptr, ptr %plan
  %box = call ptr @PyType_GenericAlloc(ptr %class, i64 0)
  %missing = icmp eq ptr %box, null
  br i1 %missing, label %failed, label %fill
fill:
  %place.at = getelementptr %box, ptr %plan, i32 0, i32 2
  %place = load i64, ptr %place.at
  %inside.at = getelementptr ptr, ptr %box, i64 %place
  store ptr %object, ptr %inside.at
  %nones.at = getelementptr %box, ptr %plan, i32 0, i32 3
  %nones = load i64, ptr %nones.at
  br label %empty
empty:
  %k = phi i64 [ 0, %fill ], [ %k.next, %set ]
  %unset = icmp slt i64 %k, %nones
  br i1 %unset, label %set, label %done
set:
  %number.at = getelementptr %box, ptr %plan, i32 0, i32 4, i64 %k
  %number = load i64, ptr %number.at
  %slot.at = getelementptr ptr, ptr %box, i64 %number
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  store ptr @_Py_NoneStruct, ptr %slot.at
  %k.next = add i64 %k, 1
  br label %empty
done:
  ret ptr %box
failed:                                                         ; Python's exception is set
  ret ptr null
}

; Python's opened(*boxes): a list of their arrays; None if one has none for the plan
define ptr @opened(ptr %self, ptr %boxes, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
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
  %array = call ptr @array_in(ptr %plan, ptr %box)
  %unfit = icmp eq ptr %array, null
  br i1 %unfit, label %other, label %take
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

; Python's boxed(*objects): a list of new boxes around them
define ptr @boxed(ptr %self, ptr %objects, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %made = call ptr @PyList_New(i64 %count)
  %lacking = icmp eq ptr %made, null
  br i1 %lacking, label %failed, label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %keep ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %object.at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object.at
  call void @Py_IncRef(ptr %object)
  %box = call ptr @box_around(ptr %plan, ptr %object)
  %missing = icmp eq ptr %box, null
  br i1 %missing, label %drop, label %keep
keep:
  %ignored = call i32 @PyList_SetItem(ptr %made, i64 %i, ptr %box)
  %i.next = add i64 %i, 1
  br label %next
drop:
  call void @Py_DecRef(ptr %object)
  call void @Py_DecRef(ptr %made)
  ret ptr null
done:
  ret ptr %made
failed:                                                         ; Python's exception is set
  ret ptr null
}

; Python's held(): a list of the arrays in the boxes that lie in some places; None if one is of
; another class, is empty, or is referred to by others although it must not be
define ptr @held(ptr %self, ptr %args, i64 %ignored) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %class = load ptr, ptr %plan
  %place.at = getelementptr %held, ptr %plan, i32 0, i32 1
  %place = load i64, ptr %place.at
  %count.at = getelementptr %held, ptr %plan, i32 0, i32 6
  %count = load i64, ptr %count.at
  %arrays = call ptr @PyList_New(i64 %count)
  %lacking = icmp eq ptr %arrays, null
  br i1 %lacking, label %failed, label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %take ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %row = getelementptr %held, ptr %plan, i32 0, i32 7, i64 %i
  %slot = load ptr, ptr %row
  %elsewhere = icmp eq ptr %slot, null
  br i1 %elsewhere, label %take, label %look
look:
  %box = load ptr, ptr %slot
  %unset = icmp eq ptr %box, null
  br i1 %unset, label %other, label %kind
kind:
  %type.at = getelementptr %object, ptr %box, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %right = icmp eq ptr %type, %class
  br i1 %right, label %ask, label %other
ask:
  %alone.at = getelementptr %place.held, ptr %row, i32 0, i32 1
  %alone = load i64, ptr %alone.at
  %must = icmp ne i64 %alone, 0
  %references = load i32, ptr %box
  %several = icmp ne i32 %references, 1
  %shared = and i1 %must, %several
  br i1 %shared, label %other, label %inside
inside:
  %array.at = getelementptr ptr, ptr %box, i64 %place
  %found = load ptr, ptr %array.at
  %empty = icmp eq ptr %found, null
  br i1 %empty, label %other, label %take
take:
  %array = phi ptr [ @_Py_NoneStruct, %one ], [ %found, %inside ]
  call void @Py_IncRef(ptr %array)
  %set = call i32 @PyList_SetItem(ptr %arrays, i64 %i, ptr %array)
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

; the place of a box that can be filled: it is of the class of the plan, unmarked, and nobody else
; refers to it, nor to what has it; null if there is none
define internal ptr @fillable(ptr %plan, i64 %i) {
entry:
  %row = getelementptr %held, ptr %plan, i32 0, i32 7, i64 %i
  %slot = load ptr, ptr %row
  %via.at = getelementptr %held, ptr %plan, i32 0, i32 4
  %via = load ptr, ptr %via.at
  %straight = icmp eq ptr %via, null
  br i1 %straight, label %look, label %between
between:
  %holder = load ptr, ptr %slot
  %absent = icmp eq ptr %holder, null
  br i1 %absent, label %no, label %of
of:
  %holder.type.at = getelementptr %object, ptr %holder, i32 0, i32 1
  %holder.type = load ptr, ptr %holder.type.at
  %right.holder = icmp eq ptr %holder.type, %via
  %holder.references = load i32, ptr %holder
  %held.once = icmp eq i32 %holder.references, 1
  %ours = and i1 %right.holder, %held.once
  %word.at = getelementptr %held, ptr %plan, i32 0, i32 5
  %word = load i64, ptr %word.at
  %inner = getelementptr ptr, ptr %holder, i64 %word
  br i1 %ours, label %look, label %no
look:
  %place = phi ptr [ %slot, %entry ], [ %inner, %of ]
  %box = load ptr, ptr %place
  %unset = icmp eq ptr %box, null
  br i1 %unset, label %no, label %ask
ask:
  %class = load ptr, ptr %plan
  %type.at = getelementptr %object, ptr %box, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %right = icmp eq ptr %type, %class
  %references = load i32, ptr %box
  %single = icmp eq i32 %references, 1
  %free = and i1 %right, %single
  br i1 %free, label %marks, label %no
marks:
  %first.at = getelementptr %held, ptr %plan, i32 0, i32 2
  %first.word = load i64, ptr %first.at
  %first.slot = getelementptr ptr, ptr %box, i64 %first.word
  %first = load ptr, ptr %first.slot
  %second.at = getelementptr %held, ptr %plan, i32 0, i32 3
  %second.word = load i64, ptr %second.at
  %second.slot = getelementptr ptr, ptr %box, i64 %second.word
  %second = load ptr, ptr %second.slot
  %bare = icmp eq ptr %first, @_Py_NoneStruct
  %bare.too = icmp eq ptr %second, @_Py_NoneStruct
  %unmarked = and i1 %bare, %bare.too
  br i1 %unmarked, label %yes, label %no
yes:
  ret ptr %place
no:
  ret ptr null
}

; Python's put(objects): gives boxes that lie in some places an object of the list each, and says 1;
; 0, and nothing was done, if one is of another class, marked, or referred to by others
define ptr @put(ptr %self, ptr %args, i64 %ignored) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %array.at = getelementptr %held, ptr %plan, i32 0, i32 1
  %array = load i64, ptr %array.at
  %count.at = getelementptr %held, ptr %plan, i32 0, i32 6
  %count = load i64, ptr %count.at
  %list = load ptr, ptr %args
  %items.at = getelementptr %list, ptr %list, i32 0, i32 3
  %items = load ptr, ptr %items.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %write
one:
  %found = call ptr @fillable(ptr %plan, i64 %i)
  %fits = icmp ne ptr %found, null
  %i.next = add i64 %i, 1
  br i1 %fits, label %next, label %say
write:
  %k = phi i64 [ 0, %next ], [ %k.next, %written ]
  %left = icmp slt i64 %k, %count
  br i1 %left, label %fill, label %say
fill:
  %place = call ptr @fillable(ptr %plan, i64 %k)
  %there = icmp ne ptr %place, null
  br i1 %there, label %swap, label %say
swap:
  %row = getelementptr %held, ptr %plan, i32 0, i32 7, i64 %k
  %number.at = getelementptr %place.held, ptr %row, i32 0, i32 1
  %number = load i64, ptr %number.at
  %object.at = getelementptr ptr, ptr %items, i64 %number
  %object = load ptr, ptr %object.at
  %box = load ptr, ptr %place
  %inside.at = getelementptr ptr, ptr %box, i64 %array
  %old = load ptr, ptr %inside.at
  call void @Py_IncRef(ptr %object)
  store ptr %object, ptr %inside.at
  %had = icmp ne ptr %old, null
  br i1 %had, label %drop, label %written
drop:
  call void @Py_DecRef(ptr %old)
  br label %written
written:
  %k.next = add i64 %k, 1
  br label %write
say:
  %answer = phi i64 [ 0, %one ], [ 1, %write ], [ 0, %fill ]
  %said = call ptr @PyLong_FromLongLong(i64 %answer)
  ret ptr %said
}
"""

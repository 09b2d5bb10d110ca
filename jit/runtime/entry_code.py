"""LLVM IR of the functions that Python calls: see `native`."""

from __future__ import annotations

ENTER = """
; slots of temporaries for a block of memory that starts at `base`
define internal void @set_places(ptr %plan, ptr %slots, i64 %base) {
entry:
  %places.at = getelementptr %plan, ptr %plan, i32 0, i32 6
  %places = load ptr, ptr %places.at
  %count.at = getelementptr %plan, ptr %plan, i32 0, i32 7
  %count = load i64, ptr %count.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %place = getelementptr %place, ptr %places, i64 %i
  %slot.number = load i64, ptr %place
  %offset.at = getelementptr %place, ptr %place, i32 0, i32 1
  %offset = load i64, ptr %offset.at
  %address = add i64 %base, %offset
  %slot = getelementptr i64, ptr %slots, i64 %slot.number
  store i64 %address, ptr %slot
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}

; Python's enter(arrays, results, slots, base): where the run stopped, or -1 - a misfit's number
define ptr @enter(ptr %self, ptr %args, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %arrays = load ptr, ptr %args
  %results.at = getelementptr ptr, ptr %args, i64 1
  %results = load ptr, ptr %results.at
  %frame.at = getelementptr ptr, ptr %args, i64 2
  %frame = load ptr, ptr %frame.at
  %slots = call ptr @PyLong_AsVoidPtr(ptr %frame)
  %misfit = call i64 @read(ptr %plan, ptr %arrays, ptr %slots)
  %good = icmp eq i64 %misfit, 0
  br i1 %good, label %make, label %done
make:
  %made = call i1 @make_all(ptr %plan, ptr %arrays, ptr %results, ptr %slots)
  br i1 %made, label %place, label %failed
place:
  %base.at = getelementptr ptr, ptr %args, i64 3
  %base.object = load ptr, ptr %base.at
  %base = call i64 @PyLong_AsLongLong(ptr %base.object)
  call void @set_places(ptr %plan, ptr %slots, i64 %base)
  %stopped = call i64 @run_detached(ptr %plan, ptr %slots, i64 0)
  %at = call ptr @stopped_at(i64 %stopped, ptr %slots)
  ret ptr %at
done:
  %said = call ptr @PyLong_FromLongLong(i64 %misfit)
  ret ptr %said
failed:                                                         ; Python's exception is set
  ret ptr null
}
"""

DIRECT = """
@_Py_NoneStruct = external global i8
declare void @Py_DecRef(ptr)
declare ptr @PyList_New(i64)

; Python's direct(*arrays): a list of the results; None if an array does not fit or the run stopped
define ptr @direct(ptr %self, ptr %args, i64 %count) {
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %results = call ptr @run_directly(ptr %plan, ptr %args, i64 %count)
  ret ptr %results
}

; Slots and temporaries lie on the stack, so calls need nothing of each other.
define internal ptr @run_directly(ptr %plan, ptr %args, i64 %count) {
entry:
  %template.at = getelementptr %plan, ptr %plan, i32 0, i32 10
  %template = load ptr, ptr %template.at
  %size.at = getelementptr %plan, ptr %plan, i32 0, i32 11
  %size = load i64, ptr %size.at
  %bytes.at = getelementptr %plan, ptr %plan, i32 0, i32 12
  %bytes = load i64, ptr %bytes.at
  %slots = alloca i64, i64 %size, align 16
  %arena = alloca i8, i64 %bytes, align 64
  br label %fill
fill:
  %i = phi i64 [ 0, %entry ], [ %i.next, %copy ]
  %more = icmp slt i64 %i, %size
  br i1 %more, label %copy, label %look
copy:
  %from = getelementptr i64, ptr %template, i64 %i
  %word = load i64, ptr %from
  %to = getelementptr i64, ptr %slots, i64 %i
  store i64 %word, ptr %to
  %i.next = add i64 %i, 1
  br label %fill
look:
  %misfit = call i64 @read_items(ptr %plan, ptr %args, i64 %count, ptr %slots)
  %good = icmp eq i64 %misfit, 0
  br i1 %good, label %make, label %none
make:
  %outputs.at = getelementptr %plan, ptr %plan, i32 0, i32 5
  %outputs = load i64, ptr %outputs.at
  %results = call ptr @PyList_New(i64 %outputs)
  %lacking = icmp eq ptr %results, null
  br i1 %lacking, label %failed, label %fill.results
fill.results:
  %made = call i1 @make_all(ptr %plan, ptr null, ptr %results, ptr %slots)
  br i1 %made, label %go, label %drop
go:
  %base = ptrtoint ptr %arena to i64
  call void @set_places(ptr %plan, ptr %slots, i64 %base)
  %stopped = call i64 @run_detached(ptr %plan, ptr %slots, i64 0)
  %end.at = getelementptr %plan, ptr %plan, i32 0, i32 1
  %end = load i64, ptr %end.at
  %status = load i64, ptr %slots
  %ended = icmp eq i64 %stopped, %end
  %well = icmp eq i64 %status, 0
  %whole = and i1 %ended, %well
  br i1 %whole, label %done, label %stop
stop:
  call void @Py_DecRef(ptr %results)
  %interrupted = icmp eq i64 %status, 3                         ; Python's exception is set
  br i1 %interrupted, label %failed, label %none
none:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
done:
  ret ptr %results
drop:                                                           ; Python's exception is set
  call void @Py_DecRef(ptr %results)
  br label %failed
failed:
  ret ptr null
}
"""

WITHIN = """
; Python's within(*boxes): what direct gives for the arrays in boxes, as a list of new boxes; None
; where direct gives it, where a box has no array, and where one of the first comes twice
define ptr @within(ptr %self, ptr %boxes, i64 %count) {
entry:
  %within = call ptr @PyLong_AsVoidPtr(ptr %self)
  %first.at = getelementptr %within, ptr %within, i32 0, i32 4
  %first = load i64, ptr %first.at
  %arrays = alloca ptr, i64 %count
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %take ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %run
one:
  %box.at = getelementptr ptr, ptr %boxes, i64 %i
  %box = load ptr, ptr %box.at
  %is.first = icmp slt i64 %i, %first
  %which = select i1 %is.first, i32 1, i32 2
  %opening.at = getelementptr ptr, ptr %within, i32 %which
  %opening = load ptr, ptr %opening.at
  %array = call ptr @array_in(ptr %opening, ptr %box)
  %unfit = icmp eq ptr %array, null
  br i1 %unfit, label %let.go, label %before
before:
  %until = select i1 %is.first, i64 %i, i64 0
  br label %compare
compare:
  %k = phi i64 [ 0, %before ], [ %k.next, %other ]
  %earlier = icmp slt i64 %k, %until
  br i1 %earlier, label %other, label %take
other:
  %other.at = getelementptr ptr, ptr %boxes, i64 %k
  %other.box = load ptr, ptr %other.at
  %twice = icmp eq ptr %other.box, %box
  %k.next = add i64 %k, 1
  br i1 %twice, label %let.go, label %compare
take:                                          ; nobody writes to what somebody refers to
  call void @Py_IncRef(ptr %array)
  %array.to = getelementptr ptr, ptr %arrays, i64 %i
  store ptr %array, ptr %array.to
  %i.next = add i64 %i, 1
  br label %next
run:
  %plan = load ptr, ptr %within
  %results = call ptr @run_directly(ptr %plan, ptr %arrays, i64 %count)
  br label %let.go
let.go:
  %said = phi ptr [ %results, %run ], [ @_Py_NoneStruct, %one ], [ @_Py_NoneStruct, %other ]
  br label %drop
drop:
  %d = phi i64 [ 0, %let.go ], [ %d.next, %drop.one ]
  %left = icmp slt i64 %d, %i
  br i1 %left, label %drop.one, label %look
drop.one:
  %dropped.at = getelementptr ptr, ptr %arrays, i64 %d
  %dropped = load ptr, ptr %dropped.at
  call void @Py_DecRef(ptr %dropped)
  %d.next = add i64 %d, 1
  br label %drop
look:
  %failed = icmp eq ptr %said, null
  br i1 %failed, label %out, label %none
none:
  %nothing = icmp eq ptr %said, @_Py_NoneStruct
  br i1 %nothing, label %tell, label %put
tell:
  br i1 %more, label %new.none, label %out     ; direct has made the reference that it gives
new.none:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  br label %out
put:                                           ; each result goes from the list into a box there
  %making.at = getelementptr %within, ptr %within, i32 0, i32 3
  %making = load ptr, ptr %making.at
  %length.at = getelementptr %list, ptr %said, i32 0, i32 2
  %length = load i64, ptr %length.at
  %items.at = getelementptr %list, ptr %said, i32 0, i32 3
  %items = load ptr, ptr %items.at
  br label %result
result:
  %r = phi i64 [ 0, %put ], [ %r.next, %keep ]
  %unboxed = icmp slt i64 %r, %length
  br i1 %unboxed, label %wrap, label %out
wrap:
  %item.at = getelementptr ptr, ptr %items, i64 %r
  %item = load ptr, ptr %item.at
  %made = call ptr @box_around(ptr %making, ptr %item)
  %lacking = icmp eq ptr %made, null
  br i1 %lacking, label %lost, label %keep
keep:
  store ptr %made, ptr %item.at
  %r.next = add i64 %r, 1
  br label %result
lost:
  call void @Py_DecRef(ptr %said)
  br label %out
out:
  %given = phi ptr [ %said, %look ], [ %said, %tell ], [ %said, %new.none ], [ %said, %result ],
                   [ null, %lost ]             ; null: Python's exception is set
  ret ptr %given
}
"""

SAME = """
; Python's same(*objects): 1 if they are those of the plan, as many and one by one, else 0
define ptr @same(ptr %self, ptr %objects, i64 %count) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %wanted = load i64, ptr %plan
  %as.many = icmp eq i64 %count, %wanted
  br i1 %as.many, label %next, label %done
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %object.at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object.at
  %i.next = add i64 %i, 1
  %known.at = getelementptr ptr, ptr %plan, i64 %i.next
  %known = load ptr, ptr %known.at
  %same = icmp eq ptr %object, %known
  br i1 %same, label %next, label %done
done:
  %answer = phi i64 [ 0, %entry ], [ 1, %next ], [ 0, %one ]
  %said = call ptr @PyLong_FromLongLong(i64 %answer)
  ret ptr %said
}
"""

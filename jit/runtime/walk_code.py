"""LLVM IR that walks back over objects and writes down what it met: see `walks`."""

from __future__ import annotations

from jit.runtime.gpu_walk_code import THERE

STRUCTURES = """
%tuple = type { i64, ptr, i64, [0 x ptr] }                      ; ..., length, items
%number = type { i64, ptr, double }                             ; ..., the value of a float
%known = type { ptr, i64, i64 }                                 ; object, its number, which walk
%walk = type { ptr, i64, i64, ptr, i64, i64, i64, i64, i64, ptr, i64, i64, ptr, i64,
  ptr, ptr, ptr, ptr, i64, ptr, i64, i64, i64, i64, i64, i64, i64, ptr, ptr, ptr, ptr, ptr, ptr }
;  0 class of boxes, and numbers of their words: array, record
;  3 class of records, and of their words: op, inputs, attrs, tick, types
;  9 class of parts: record, number; 12 class of ends: mark
; 14 classes of arrays, tuples, floats
; 17 words and how many there are, table and how many rows it has less one
; 21 how many are written, numbered; which walk it is; the ticks between which it stays, the first
; 27 lists of records, boxes, ends, records with attrs, other inputs
; 32 class of arrays on a GPU
"""

# number: of an object; negative, -1 - number, if it is new.
NUMBER = """
declare i32 @PyList_Append(ptr, ptr)
declare ptr @PyBytes_FromStringAndSize(ptr, i64)
declare i64 @PyDict_Size(ptr)

define internal void @write(ptr %walk, i64 %word) {
  %at.at = getelementptr %walk, ptr %walk, i32 0, i32 21
  %at = load i64, ptr %at.at
  %words.at = getelementptr %walk, ptr %walk, i32 0, i32 17
  %words = load ptr, ptr %words.at
  %place = getelementptr i32, ptr %words, i64 %at
  %short = trunc i64 %word to i32
  store i32 %short, ptr %place
  %next = add i64 %at, 1
  store i64 %next, ptr %at.at
  ret void
}

define internal void @write_wide(ptr %walk, i64 %word) {
  %high = lshr i64 %word, 32
  call void @write(ptr %walk, i64 %word)
  call void @write(ptr %walk, i64 %high)
  ret void
}

; whether there is room for all that is written of a box, or of an input
define internal i1 @has_room(ptr %walk) {
  %at.at = getelementptr %walk, ptr %walk, i32 0, i32 21
  %at = load i64, ptr %at.at
  %size.at = getelementptr %walk, ptr %walk, i32 0, i32 18
  %size = load i64, ptr %size.at
  %end = add i64 %at, 512
  %fits = icmp slt i64 %end, %size
  %count.at = getelementptr %walk, ptr %walk, i32 0, i32 22
  %count = load i64, ptr %count.at
  %mask.at = getelementptr %walk, ptr %walk, i32 0, i32 20
  %mask = load i64, ptr %mask.at
  %twice = shl i64 %count, 1
  %sparse = icmp slt i64 %twice, %mask
  %room = and i1 %fits, %sparse
  ret i1 %room
}

define internal i64 @number(ptr %walk, ptr %object) {
entry:
  %table.at = getelementptr %walk, ptr %walk, i32 0, i32 19
  %table = load ptr, ptr %table.at
  %mask.at = getelementptr %walk, ptr %walk, i32 0, i32 20
  %mask = load i64, ptr %mask.at
  %which.at = getelementptr %walk, ptr %walk, i32 0, i32 23
  %which = load i64, ptr %which.at
  %address = ptrtoint ptr %object to i64
  %mixed = mul i64 %address, -7046029254386353131
  %hash = lshr i64 %mixed, 40
  br label %look
look:
  %h = phi i64 [ %hash, %entry ], [ %h.next, %other ]
  %row = and i64 %h, %mask
  %known = getelementptr %known, ptr %table, i64 %row
  %walk.at = getelementptr %known, ptr %known, i32 0, i32 2
  %seen = load i64, ptr %walk.at
  %now = icmp eq i64 %seen, %which
  br i1 %now, label %compare, label %new
compare:
  %here = load ptr, ptr %known
  %same = icmp eq ptr %here, %object
  br i1 %same, label %found, label %other
other:
  %h.next = add i64 %h, 1
  br label %look
found:
  %number.at = getelementptr %known, ptr %known, i32 0, i32 1
  %number = load i64, ptr %number.at
  ret i64 %number
new:
  %count.at = getelementptr %walk, ptr %walk, i32 0, i32 22
  %count = load i64, ptr %count.at
  store ptr %object, ptr %known
  %new.number.at = getelementptr %known, ptr %known, i32 0, i32 1
  store i64 %count, ptr %new.number.at
  store i64 %which, ptr %walk.at
  %count.next = add i64 %count, 1
  store i64 %count.next, ptr %count.at
  %negative = sub i64 -1, %count
  ret i64 %negative
}

; writes the number of an object that lasts, with its address at the first time
define internal void @write_lasting(ptr %walk, ptr %object) {
  %number = call i64 @number(ptr %walk, ptr %object)
  call void @write(ptr %walk, i64 %number)
  %new = icmp slt i64 %number, 0
  br i1 %new, label %tell, label %done
tell:
  %address = ptrtoint ptr %object to i64
  call void @write_wide(ptr %walk, i64 %address)
  br label %done
done:
  ret void
}

; an object in a slot of another, by the place where the number of the slot's word is
define internal ptr @slot(ptr %walk, i32 %which, ptr %object) {
  %word.at = getelementptr i64, ptr %walk, i32 %which
  %word = load i64, ptr %word.at
  %slot = getelementptr ptr, ptr %object, i64 %word
  %held = load ptr, ptr %slot
  ret ptr %held
}

; appends to one of the lists
define internal void @list(ptr %walk, i32 %which, ptr %object) {
  %list.at = getelementptr ptr, ptr %walk, i32 %which
  %list = load ptr, ptr %list.at
  %ignored = call i32 @PyList_Append(ptr %list, ptr %object)
  ret void
}

define internal ptr @class(ptr %object) {
  %type.at = getelementptr %object, ptr %object, i32 0, i32 1
  %type = load ptr, ptr %type.at
  ret ptr %type
}
"""

# What a box is that is met for the first time; false where words cannot say it.
BOX = """
define internal i1 @describe(ptr %walk, ptr %array) {
entry:
  %unset = icmp eq ptr %array, null
  br i1 %unset, label %no, label %kind
kind:
  %class = call ptr @class(ptr %array)
  %wanted.at = getelementptr %walk, ptr %walk, i32 0, i32 14
  %wanted = load ptr, ptr %wanted.at
  %right = icmp eq ptr %class, %wanted
  br i1 %right, label %tell, label %elsewhere
elsewhere:
  %there.at = getelementptr %walk, ptr %walk, i32 0, i32 32
  %there = load ptr, ptr %there.at
  %is.there = icmp eq ptr %class, %there
  br i1 %is.there, label %tell.there, label %no
tell.there:
  call void @describe.there(ptr %walk, ptr %array)
  ret i1 true
tell:
  %descr.at = getelementptr %array, ptr %array, i32 0, i32 7
  %descr = load ptr, ptr %descr.at
  call void @write_lasting(ptr %walk, ptr %descr)
  %rank.at = getelementptr %array, ptr %array, i32 0, i32 3
  %rank.short = load i32, ptr %rank.at
  %rank = sext i32 %rank.short to i64
  %flags.at = getelementptr %array, ptr %array, i32 0, i32 8
  %flags = load i32, ptr %flags.at
  %ordered.short = and i32 %flags, 1
  %ordered = icmp ne i32 %ordered.short, 0
  %ordered.wide = zext i1 %ordered to i64
  %twice = shl i64 %rank, 1
  %both = or i64 %twice, %ordered.wide
  call void @write(ptr %walk, i64 %both)
  %dims.at = getelementptr %array, ptr %array, i32 0, i32 4
  %dims = load ptr, ptr %dims.at
  %strides.at = getelementptr %array, ptr %array, i32 0, i32 5
  %strides = load ptr, ptr %strides.at
  br label %next
next:
  %i = phi i64 [ 0, %tell ], [ %i.next, %told ]
  %more = icmp slt i64 %i, %rank
  br i1 %more, label %one, label %done
one:
  %dim.at = getelementptr i64, ptr %dims, i64 %i
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
  ret i1 true
no:
  ret i1 false
}

define internal i1 @visit_box(ptr %walk, ptr %box) {
entry:
  %room = call i1 @has_room(ptr %walk)
  br i1 %room, label %ask, label %no
ask:
  %number = call i64 @number(ptr %walk, ptr %box)
  call void @write(ptr %walk, i64 %number)
  %new = icmp slt i64 %number, 0
  br i1 %new, label %open, label %yes
open:
  call void @list(ptr %walk, i32 28, ptr %box)
  %array = call ptr @slot(ptr %walk, i32 1, ptr %box)
  %record = call ptr @slot(ptr %walk, i32 2, ptr %box)
  %recorded = icmp ne ptr %record, null
  br i1 %recorded, label %look, label %no
look:
  %described = call i1 @describe(ptr %walk, ptr %array)
  br i1 %described, label %origin, label %no
origin:
  %said = call i1 @visit_origin(ptr %walk, ptr %record)
  ret i1 %said
yes:
  ret i1 true
no:
  ret i1 false
}
"""

# Where a box comes from: nothing, an end, a record or one of the results of a record.
ORIGIN = """
define internal i1 @visit_origin(ptr %walk, ptr %origin) {
entry:
  %none = icmp eq ptr %origin, @_Py_NoneStruct
  br i1 %none, label %nothing, label %kind
nothing:
  call void @write(ptr %walk, i64 0)
  ret i1 true
kind:
  %class = call ptr @class(ptr %origin)
  %end.at = getelementptr %walk, ptr %walk, i32 0, i32 12
  %end.class = load ptr, ptr %end.at
  %is.end = icmp eq ptr %class, %end.class
  br i1 %is.end, label %end, label %further
end:
  call void @write(ptr %walk, i64 1)
  %number = call i64 @number(ptr %walk, ptr %origin)
  call void @write(ptr %walk, i64 %number)
  %new = icmp slt i64 %number, 0
  br i1 %new, label %new.end, label %yes
new.end:
  call void @list(ptr %walk, i32 29, ptr %origin)
  %mark = call ptr @slot(ptr %walk, i32 13, ptr %origin)
  call void @write_lasting(ptr %walk, ptr %mark)
  ret i1 true
further:
  %part.at = getelementptr %walk, ptr %walk, i32 0, i32 9
  %part.class = load ptr, ptr %part.at
  %is.part = icmp eq ptr %class, %part.class
  br i1 %is.part, label %part, label %whole
part:
  %of = call ptr @slot(ptr %walk, i32 10, ptr %origin)
  %index.object = call ptr @slot(ptr %walk, i32 11, ptr %origin)
  %index = call i64 @PyLong_AsLongLong(ptr %index.object)
  %index.up = add i64 %index, 3
  call void @write(ptr %walk, i64 %index.up)
  br label %behind
whole:
  call void @write(ptr %walk, i64 2)
  br label %behind
behind:
  %record = phi ptr [ %of, %part ], [ %origin, %whole ]
  %record.class = call ptr @class(ptr %record)
  %wanted.at = getelementptr %walk, ptr %walk, i32 0, i32 3
  %wanted = load ptr, ptr %wanted.at
  %right = icmp eq ptr %record.class, %wanted
  br i1 %right, label %go, label %no
go:
  %said = call i1 @visit_record(ptr %walk, ptr %record)
  ret i1 %said
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i1 @visit_record(ptr %walk, ptr %record) {
entry:
  %tick.object = call ptr @slot(ptr %walk, i32 7, ptr %record)
  %tick = call i64 @PyLong_AsLongLong(ptr %tick.object)
  %first.at = getelementptr %walk, ptr %walk, i32 0, i32 24
  %first = load i64, ptr %first.at
  %last.at = getelementptr %walk, ptr %walk, i32 0, i32 25
  %last = load i64, ptr %last.at
  %later = icmp sgt i64 %tick, %first
  %earlier = icmp slt i64 %tick, %last
  %inside = and i1 %later, %earlier
  br i1 %inside, label %ask, label %outside
outside:
  call void @write(ptr %walk, i64 0)
  ret i1 true
ask:
  call void @write(ptr %walk, i64 1)
  %number = call i64 @number(ptr %walk, ptr %record)
  call void @write(ptr %walk, i64 %number)
  %new = icmp slt i64 %number, 0
  br i1 %new, label %tell, label %yes
tell:
  call void @list(ptr %walk, i32 27, ptr %record)
  %base.at = getelementptr %walk, ptr %walk, i32 0, i32 26
  %base = load i64, ptr %base.at
  %is.first = icmp eq i64 %base, 0
  %from = select i1 %is.first, i64 %tick, i64 %base
  store i64 %from, ptr %base.at
  %since = sub i64 %tick, %from
  call void @write_wide(ptr %walk, i64 %since)
  %op = call ptr @slot(ptr %walk, i32 4, ptr %record)
  call void @write_lasting(ptr %walk, ptr %op)
  %types = call ptr @slot(ptr %walk, i32 8, ptr %record)
  %single = icmp eq ptr %types, @_Py_NoneStruct
  %single.wide = zext i1 %single to i64
  call void @write(ptr %walk, i64 %single.wide)
  %attrs = call ptr @slot(ptr %walk, i32 6, ptr %record)
  %count = call i64 @PyDict_Size(ptr %attrs)
  %bare = icmp eq i64 %count, 0
  br i1 %bare, label %none, label %some
none:
  call void @write(ptr %walk, i64 0)
  ret i1 true
some:
  call void @write(ptr %walk, i64 1)
  %attrs.number = call i64 @number(ptr %walk, ptr %attrs)
  call void @write(ptr %walk, i64 %attrs.number)
  %unread = icmp slt i64 %attrs.number, 0
  br i1 %unread, label %keep, label %yes
keep:
  call void @list(ptr %walk, i32 30, ptr %record)
  br label %yes
yes:
  ret i1 true
}
"""

INPUTS = """
define internal i1 @visit_input(ptr %walk, ptr %input) {
entry:
  %class = call ptr @class(ptr %input)
  %box.class = load ptr, ptr %walk
  %is.box = icmp eq ptr %class, %box.class
  br i1 %is.box, label %box, label %plain
box:
  %said = call i1 @visit_box(ptr %walk, ptr %input)
  ret i1 %said
plain:
  %room = call i1 @has_room(ptr %walk)
  br i1 %room, label %kind, label %no
kind:
  call void @write_lasting(ptr %walk, ptr %class)
  %float.at = getelementptr %walk, ptr %walk, i32 0, i32 16
  %float.class = load ptr, ptr %float.at
  %is.float = icmp eq ptr %class, %float.class
  br i1 %is.float, label %float, label %other
float:
  %value.at = getelementptr %number, ptr %input, i32 0, i32 2
  %value = load i64, ptr %value.at
  call void @write_wide(ptr %walk, i64 %value)
  ret i1 true
other:
  call void @list(ptr %walk, i32 31, ptr %input)
  ret i1 true
no:
  ret i1 false
}

define internal i1 @visit_inputs(ptr %walk, ptr %record) {
entry:
  %inputs = call ptr @slot(ptr %walk, i32 5, ptr %record)
  %class = call ptr @class(ptr %inputs)
  %tuple.at = getelementptr %walk, ptr %walk, i32 0, i32 15
  %tuple.class = load ptr, ptr %tuple.at
  %right = icmp eq ptr %class, %tuple.class
  br i1 %right, label %each, label %no
each:
  %count.at = getelementptr %tuple, ptr %inputs, i32 0, i32 2
  %count = load i64, ptr %count.at
  %room = call i1 @has_room(ptr %walk)
  call void @write(ptr %walk, i64 %count)
  br i1 %room, label %next, label %no
next:
  %i = phi i64 [ 0, %each ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %input.at = getelementptr %tuple, ptr %inputs, i32 0, i32 3, i64 %i
  %input = load ptr, ptr %input.at
  %said = call i1 @visit_input(ptr %walk, ptr %input)
  %i.next = add i64 %i, 1
  br i1 %said, label %next, label %no
done:
  ret i1 true
no:
  ret i1 false
}
"""

WALK = """
; Python's walk(boxes, first, last, records, boxes met, ends, records with attrs, other inputs):
; what was met between two ticks, in words; None if words cannot say it
define ptr @walk(ptr %self, ptr %args, i64 %ignored) {
entry:
  %walk = call ptr @PyLong_AsVoidPtr(ptr %self)
  %at.at = getelementptr %walk, ptr %walk, i32 0, i32 21
  store i64 0, ptr %at.at
  %count.at = getelementptr %walk, ptr %walk, i32 0, i32 22
  store i64 0, ptr %count.at
  %which.at = getelementptr %walk, ptr %walk, i32 0, i32 23
  %which = load i64, ptr %which.at
  %which.next = add i64 %which, 1
  store i64 %which.next, ptr %which.at
  %first.at = getelementptr ptr, ptr %args, i64 1
  %first.object = load ptr, ptr %first.at
  %first = call i64 @PyLong_AsLongLong(ptr %first.object)
  %first.to = getelementptr %walk, ptr %walk, i32 0, i32 24
  store i64 %first, ptr %first.to
  %last.at = getelementptr ptr, ptr %args, i64 2
  %last.object = load ptr, ptr %last.at
  %last = call i64 @PyLong_AsLongLong(ptr %last.object)
  %last.to = getelementptr %walk, ptr %walk, i32 0, i32 25
  store i64 %last, ptr %last.to
  %base.to = getelementptr %walk, ptr %walk, i32 0, i32 26
  store i64 0, ptr %base.to
  %lists.at = getelementptr ptr, ptr %args, i64 3
  %lists = load [5 x ptr], ptr %lists.at
  %lists.to = getelementptr %walk, ptr %walk, i32 0, i32 27
  store [5 x ptr] %lists, ptr %lists.to
  %given = load ptr, ptr %args
  %records = load ptr, ptr %lists.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %length.at = getelementptr %list, ptr %given, i32 0, i32 2
  %length = load i64, ptr %length.at
  %more = icmp slt i64 %i, %length
  br i1 %more, label %one, label %walk.on
one:
  %items.at = getelementptr %list, ptr %given, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %box.at = getelementptr ptr, ptr %items, i64 %i
  %box = load ptr, ptr %box.at
  %said = call i1 @visit_input(ptr %walk, ptr %box)
  %i.next = add i64 %i, 1
  br i1 %said, label %next, label %no
walk.on:
  %k = phi i64 [ 0, %next ], [ %k.next, %take ]
  %waiting.at = getelementptr %list, ptr %records, i32 0, i32 2
  %waiting = load i64, ptr %waiting.at
  %left = icmp slt i64 %k, %waiting
  br i1 %left, label %take, label %done
take:
  %queue.at = getelementptr %list, ptr %records, i32 0, i32 3
  %queue = load ptr, ptr %queue.at
  %record.at = getelementptr ptr, ptr %queue, i64 %k
  %record = load ptr, ptr %record.at
  %walked = call i1 @visit_inputs(ptr %walk, ptr %record)
  %k.next = add i64 %k, 1
  br i1 %walked, label %walk.on, label %no
done:
  %words.at = getelementptr %walk, ptr %walk, i32 0, i32 17
  %words = load ptr, ptr %words.at
  %written = load i64, ptr %at.at
  %bytes = shl i64 %written, 2
  %key = call ptr @PyBytes_FromStringAndSize(ptr %words, i64 %bytes)
  ret ptr %key
no:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}
"""

WALKS = "".join((STRUCTURES, NUMBER, THERE, BOX, ORIGIN, INPUTS, WALK))

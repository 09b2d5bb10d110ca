"""LLVM IR of the native side of a call: see `native`."""

from __future__ import annotations

from jit.runtime.box_code import BOXES
from jit.runtime.entry_code import DIRECT, ENTER, SAME, WITHIN
from jit.runtime.kernel_code import BATCH, guard_texts
from jit.runtime.note_code import NOTES
from jit.runtime.repeat_code import REPEAT
from jit.runtime.walk_code import WALKS

# the status: a check did not hold; a guard saw another answer; Python has an exception set
FAILED, MISSED, INTERRUPTED = 1, 2, 3

STRUCTURES = """
%object = type { i64, ptr }                                     ; references, type
%list = type { i64, ptr, i64, ptr }                             ; ..., length, items
%array = type { i64, ptr, ptr, i32, ptr, ptr, ptr, ptr, i32, ptr }
; ..., data, rank, dims, strides, base, descr, flags, weak references
%plan = type { ptr, i64, ptr, i64, ptr, i64, ptr, i64, i64, ptr, ptr, i64, i64 }
; launches and their number, inputs, outputs, places alike, whether to release the lock, threads,
; slots as every call finds them and their number, bytes of temporaries
%launch = type { ptr, ptr, i64, i64 }            ; kernel, record, items, how threads share them
%input = type { i64, ptr, i64, ptr }             ; slot, descr, rank, dims
%output = type { i64, i64, i64, ptr, i64, ptr }  ; position, slot, number of a donor, descr, ...
%place = type { i64, i64 }                       ; slot, offset
%repeat = type { i64, ptr, i64, ptr, i64, ptr, i64, ptr, i64, ptr, i64, i64 }
; how often, launches and their number, moves before and between alike, threads,
; the slot of what tells whether to go on (or 0), copies at the end and their number,
; after how many runs it is looked whether somebody wants them to end (0: never)
%box = type { ptr, ptr, i64, i64, [0 x i64] }
; class, class of arrays, number of the word with the array, how many words hold None, their numbers
%within = type { ptr, ptr, ptr, ptr, i64 }
; the plan of a run; those of what opens the first boxes, the others, and of what makes boxes; how
; many the first are
%place.held = type { ptr, i64 }
; where a box is (0: not here); whether it must be there only, or the number of an object for it
%held = type { ptr, i64, i64, i64, ptr, i64, i64, [0 x %place.held] }
; class; numbers of the word with the array and of two that must hold None for another array to be
; put in; class of what lies in the places instead, and the number of its word with the box (or 0);
; how many places there are, and these
%move = type { i64, i64, i64 }                   ; slot, source (0, the status, is 0), bytes
"""

# run: steps from number `first` on, up to a step that Python does, a failure, or the end.
RUN = """
declare void @parallel(ptr, ptr, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyLong_AsVoidPtr(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)

define i64 @run(ptr %plan, ptr %slots, i64 %first) {
  %steps = load ptr, ptr %plan
  %count.at = getelementptr %plan, ptr %plan, i32 0, i32 1
  %count = load i64, ptr %count.at
  %pool.at = getelementptr %plan, ptr %plan, i32 0, i32 9
  %pool = load ptr, ptr %pool.at
  store i64 0, ptr %slots
  %at = call i64 @run_steps(ptr %steps, i64 %count, ptr %pool, ptr %slots, i64 %first)
  ret i64 %at
}

define internal i64 @run_steps(ptr %steps, i64 %count, ptr %pool, ptr %slots, i64 %first) {
entry:
  br label %next
next:
  %i = phi i64 [ %first, %entry ], [ %after, %ran ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %step, label %stop
step:
  %launch = getelementptr %launch, ptr %steps, i64 %i
  %function = load ptr, ptr %launch
  %native = icmp ne ptr %function, null
  br i1 %native, label %go, label %stop
go:
  %sharing.at = getelementptr %launch, ptr %launch, i32 0, i32 3
  %sharing = load i64, ptr %sharing.at
  %shared = icmp ne i64 %sharing, 0
  br i1 %shared, label %many, label %alone
many:
  call void @parallel(ptr %pool, ptr %launch, ptr %slots)
  br label %ran
alone:
  %record.at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %record = load ptr, ptr %record.at
  %items.at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %items = load i64, ptr %items.at
  call void %function(ptr %slots, ptr %record, i64 0, i64 %items)
  br label %ran
ran:
  %after = add i64 %i, 1
  %status = load i64, ptr %slots
  %well = icmp eq i64 %status, 0
  br i1 %well, label %next, label %stop
stop:
  ret i64 %i
}

; run, without Python's lock if the plan says so
define internal i64 @run_detached(ptr %plan, ptr %slots, i64 %first) {
entry:
  %detached.at = getelementptr %plan, ptr %plan, i32 0, i32 8
  %detached = load i64, ptr %detached.at
  %long = icmp ne i64 %detached, 0
  br i1 %long, label %release, label %hold
release:
  %state = call ptr @PyEval_SaveThread()
  %a = call i64 @run(ptr %plan, ptr %slots, i64 %first)
  call void @PyEval_RestoreThread(ptr %state)
  ret i64 %a
hold:
  %b = call i64 @run(ptr %plan, ptr %slots, i64 %first)
  ret i64 %b
}

; Python's resume(slots, first)
define ptr @resume(ptr %self, ptr %args, i64 %count) {
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %frame = load ptr, ptr %args
  %slots = call ptr @PyLong_AsVoidPtr(ptr %frame)
  %first.at = getelementptr ptr, ptr %args, i64 1
  %first.object = load ptr, ptr %first.at
  %first = call i64 @PyLong_AsLongLong(ptr %first.object)
  %at = call i64 @run_detached(ptr %plan, ptr %slots, i64 %first)
  %said = call ptr @stopped_at(i64 %at, ptr %slots)
  ret ptr %said
}

; where a run has stopped, as Python's number; null if somebody has interrupted it
define internal ptr @stopped_at(i64 %at, ptr %slots) {
  %status = load i64, ptr %slots
  %interrupted = icmp eq i64 %status, 3
  br i1 %interrupted, label %raise, label %say
say:
  %said = call ptr @PyLong_FromLongLong(i64 %at)
  ret ptr %said
raise:                                                          ; Python's exception is set
  ret ptr null
}
"""

# enter: read the arguments, make the results, set the places of temporaries, run.
READ = """
@PyArray_Type = external global i8
@PyList_Type = external global i8

; whether an object is exactly the array that is expected: class, dtype, order, alignment, shape
define internal i1 @fits(ptr %array, ptr %input) {
entry:
  %type.at = getelementptr %array, ptr %array, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, @PyArray_Type
  br i1 %is.array, label %header, label %no
header:
  %descr.at = getelementptr %array, ptr %array, i32 0, i32 7
  %descr = load ptr, ptr %descr.at
  %want.descr.at = getelementptr %input, ptr %input, i32 0, i32 1
  %want.descr = load ptr, ptr %want.descr.at
  %same.dtype = icmp eq ptr %descr, %want.descr
  %flags.at = getelementptr %array, ptr %array, i32 0, i32 8
  %flags = load i32, ptr %flags.at
  %some = and i32 %flags, 257                                   ; C contiguous, aligned
  %plain = icmp eq i32 %some, 257
  %rank.at = getelementptr %array, ptr %array, i32 0, i32 3
  %rank32 = load i32, ptr %rank.at
  %rank = zext i32 %rank32 to i64
  %want.rank.at = getelementptr %input, ptr %input, i32 0, i32 2
  %want.rank = load i64, ptr %want.rank.at
  %same.rank = icmp eq i64 %rank, %want.rank
  %alike = and i1 %same.dtype, %plain
  %all = and i1 %alike, %same.rank
  br i1 %all, label %shape, label %no
shape:
  %dims.at = getelementptr %array, ptr %array, i32 0, i32 4
  %dims = load ptr, ptr %dims.at
  %want.dims.at = getelementptr %input, ptr %input, i32 0, i32 3
  %want.dims = load ptr, ptr %want.dims.at
  br label %axis
axis:
  %k = phi i64 [ 0, %shape ], [ %k.next, %compare ]
  %inside = icmp ult i64 %k, %rank
  br i1 %inside, label %compare, label %yes
compare:
  %extent.at = getelementptr i64, ptr %dims, i64 %k
  %extent = load i64, ptr %extent.at
  %want.extent.at = getelementptr i64, ptr %want.dims, i64 %k
  %want.extent = load i64, ptr %want.extent.at
  %same = icmp eq i64 %extent, %want.extent
  %k.next = add i64 %k, 1
  br i1 %same, label %axis, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; data pointers of the list's arrays into slots; 0, or -1 - number of the first that does not fit
define internal i64 @read(ptr %plan, ptr %arrays, ptr %slots) {
entry:
  %type.at = getelementptr %list, ptr %arrays, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %is.list = icmp eq ptr %type, @PyList_Type
  br i1 %is.list, label %unpack, label %misfit
unpack:
  %length.at = getelementptr %list, ptr %arrays, i32 0, i32 2
  %length = load i64, ptr %length.at
  %items.at = getelementptr %list, ptr %arrays, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %said = call i64 @read_items(ptr %plan, ptr %items, i64 %length, ptr %slots)
  ret i64 %said
misfit:
  ret i64 -1
}

define internal i64 @read_items(ptr %plan, ptr %items, i64 %length, ptr %slots) {
entry:
  %inputs.at = getelementptr %plan, ptr %plan, i32 0, i32 2
  %inputs = load ptr, ptr %inputs.at
  %count.at = getelementptr %plan, ptr %plan, i32 0, i32 3
  %count = load i64, ptr %count.at
  %as.many = icmp eq i64 %length, %count
  br i1 %as.many, label %next, label %misfit
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %take ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %look, label %done
look:
  %array.at = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %array.at
  %input = getelementptr %input, ptr %inputs, i64 %i
  %good = call i1 @fits(ptr %array, ptr %input)
  br i1 %good, label %take, label %misfit
take:
  %slot = load i64, ptr %input
  %slot.at = getelementptr ptr, ptr %slots, i64 %slot
  %data.at = getelementptr %array, ptr %array, i32 0, i32 2
  %data = load ptr, ptr %data.at
  store ptr %data, ptr %slot.at
  %i.next = add i64 %i, 1
  br label %next
misfit:
  %bad = phi i64 [ 0, %entry ], [ %i, %look ]
  %said = sub i64 -1, %bad
  ret i64 %said
done:
  ret i64 0
}
"""

MAKE = """
@Block_Type = external global i8
declare void @Py_IncRef(ptr)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyArray_NewFromDescr(ptr, ptr, i32, ptr, ptr, ptr, i32, ptr)

; whether nobody but the list and one holder can see the memory of an array
define internal i1 @unshared(ptr %array) {
entry:
  %references = load i32, ptr %array
  %few = icmp ule i32 %references, 2
  %flags.at = getelementptr %array, ptr %array, i32 0, i32 8
  %flags = load i32, ptr %flags.at
  %writeable.bit = and i32 %flags, 1024
  %writeable = icmp ne i32 %writeable.bit, 0
  %weak.at = getelementptr %array, ptr %array, i32 0, i32 9
  %weak = load ptr, ptr %weak.at
  %unwatched = icmp eq ptr %weak, null
  %a = and i1 %few, %writeable
  %b = and i1 %a, %unwatched
  %base.at = getelementptr %array, ptr %array, i32 0, i32 6
  %base = load ptr, ptr %base.at
  %own.bit = and i32 %flags, 4
  %own = icmp ne i32 %own.bit, 0
  %whole = icmp eq ptr %base, null
  br i1 %whole, label %owner, label %view
owner:
  %c = and i1 %b, %own
  ret i1 %c
view:                                                           ; of a recycled block
  %type.at = getelementptr %object, ptr %base, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %block = icmp eq ptr %type, @Block_Type
  %viewers = load i32, ptr %base
  %single = icmp eq i32 %viewers, 1
  %d = and i1 %block, %single
  %e = and i1 %b, %d
  ret i1 %e
}

; one result: the memory of an argument, what lies in the list already, or a new array
define internal i1 @make(ptr %output, ptr %arrays, ptr %results, ptr %slots) {
entry:
  %position = load i64, ptr %output
  %donor.at = getelementptr %output, ptr %output, i32 0, i32 2
  %donor = load i64, ptr %donor.at
  %offered = icmp sge i64 %donor, 0
  br i1 %offered, label %ask, label %look
ask:
  %given.items.at = getelementptr %list, ptr %arrays, i32 0, i32 3
  %given.items = load ptr, ptr %given.items.at
  %given.at = getelementptr ptr, ptr %given.items, i64 %donor
  %given = load ptr, ptr %given.at
  %free = call i1 @unshared(ptr %given)
  br i1 %free, label %take, label %look
take:
  call void @Py_IncRef(ptr %given)
  br label %keep
look:
  %items.at = getelementptr %list, ptr %results, i32 0, i32 3
  %items = load ptr, ptr %items.at
  %ready.at = getelementptr ptr, ptr %items, i64 %position
  %ready = load ptr, ptr %ready.at
  %nothing = icmp eq ptr %ready, null                            ; as in a new list
  br i1 %nothing, label %create, label %class
class:
  %type.at = getelementptr %object, ptr %ready, i32 0, i32 1
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, @PyArray_Type
  br i1 %is.array, label %use, label %create
create:
  %descr.at = getelementptr %output, ptr %output, i32 0, i32 3
  %descr = load ptr, ptr %descr.at
  %rank.at = getelementptr %output, ptr %output, i32 0, i32 4
  %rank64 = load i64, ptr %rank.at
  %rank = trunc i64 %rank64 to i32
  %dims.at = getelementptr %output, ptr %output, i32 0, i32 5
  %dims = load ptr, ptr %dims.at
  call void @Py_IncRef(ptr %descr)
  %new = call ptr @PyArray_NewFromDescr(ptr @PyArray_Type, ptr %descr, i32 %rank, ptr %dims,
                                        ptr null, ptr null, i32 0, ptr null)
  %lacking = icmp eq ptr %new, null
  br i1 %lacking, label %failed, label %keep
keep:
  %kept = phi ptr [ %given, %take ], [ %new, %create ]
  %ignored = call i32 @PyList_SetItem(ptr %results, i64 %position, ptr %kept)
  br label %use
use:
  %array = phi ptr [ %ready, %class ], [ %kept, %keep ]
  %data.at = getelementptr %array, ptr %array, i32 0, i32 2
  %data = load ptr, ptr %data.at
  %slot.number.at = getelementptr %output, ptr %output, i32 0, i32 1
  %slot.number = load i64, ptr %slot.number.at
  %slot = getelementptr ptr, ptr %slots, i64 %slot.number
  store ptr %data, ptr %slot
  ret i1 true
failed:
  ret i1 false
}

define internal i1 @make_all(ptr %plan, ptr %arrays, ptr %results, ptr %slots) {
entry:
  %outputs.at = getelementptr %plan, ptr %plan, i32 0, i32 4
  %outputs = load ptr, ptr %outputs.at
  %count.at = getelementptr %plan, ptr %plan, i32 0, i32 5
  %count = load i64, ptr %count.at
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %output = getelementptr %output, ptr %outputs, i64 %i
  %made = call i1 @make(ptr %output, ptr %arrays, ptr %results, ptr %slots)
  %i.next = add i64 %i, 1
  br i1 %made, label %next, label %done
done:
  %well = phi i1 [ true, %next ], [ false, %one ]
  ret i1 %well
}
"""


def code() -> str:
    """All of the LLVM IR here."""
    own = STRUCTURES, RUN, REPEAT, READ, MAKE, ENTER, DIRECT, WITHIN, SAME, BOXES, WALKS, NOTES
    return "".join((*own, BATCH, *guard_texts().values()))

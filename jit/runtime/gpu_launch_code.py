"""LLVM IR that finds and does the launches of an op, for the arrays of a call: `gpu_launches`."""

from __future__ import annotations

from jit.runtime.gpu_entry_code import LAYOUTS
from jit.runtime.gpu_form_code import FORM, MOST_INPUTS, NUMBERS, SIZES

MOST_OUTPUTS, MOST_WORDS = 16, 128  # what there is room for on the stack

STRUCTURES = f"""{LAYOUTS}
%tuple = type {{ i64, ptr, i64, [0 x ptr] }}                      ; ..., length, items
%plan = type {{ ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr }}
;  0 class of arrays; what is known: a dict from forms to tuples of a job's address and of the dict
;    from the bits of numbers to their addresses
;  2 Python's functions: memory of a size; an array without anything, of its class; what fills it;
;    its memory's address by this name; the number of the active device, if it must be asked for
;  7 functions in C: the current stream's number; a launch, as the driver's
;  9 classes of numbers: float, int, bool
%job = type {{ i64, i64, i64, ptr, ptr, i64, ptr, i64, ptr }}
;  0 device, how many inputs, outputs, and these; the size of the arena or null; how many words, and
;  these; how many launches, and these
%output = type {{ ptr, ptr, ptr }}                                ; shape, dtype, bytes
%word = type {{ i64, i64 }}                                       ; number of a base, offset
%launch = type {{ ptr, i32, i32, i32, i32, i32, i32, i32, i32, i64, ptr }}
;  0 kernel; blocks; threads; shared bytes; unused; its first word; what the library multiplies
%product = type {{ ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, i64 }}
;  0 function; handle, operation, one, layouts: right, left; zero; layout of the result; algorithm;
;    bytes of the workspace

declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyErr_Occurred()
declare i64 @PyLong_AsLongLong(ptr)
declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyBytes_FromStringAndSize(ptr, i64)
declare ptr @PyDict_GetItemWithError(ptr, ptr)
declare ptr @PyObject_GetAttr(ptr, ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
"""

MEMORY = """
; new memory on the active device, and its address; null if Python failed
define internal ptr @memory(ptr %plan, ptr %size, ptr %address) {
entry:
  %args = alloca [1 x ptr], align 8
  store ptr %size, ptr %args
  %function.at = getelementptr %plan, ptr %plan, i32 0, i32 2
  %function = load ptr, ptr %function.at
  %made = call ptr @PyObject_Vectorcall(ptr %function, ptr %args, i64 1, ptr null)
  %lacking = icmp eq ptr %made, null
  br i1 %lacking, label %no, label %ask
ask:
  %name.at = getelementptr %plan, ptr %plan, i32 0, i32 5
  %name = load ptr, ptr %name.at
  %number = call ptr @PyObject_GetAttr(ptr %made, ptr %name)
  %failed = icmp eq ptr %number, null
  br i1 %failed, label %drop, label %read
read:
  %place = call i64 @PyLong_AsLongLong(ptr %number)
  call void @Py_DecRef(ptr %number)
  store i64 %place, ptr %address
  ret ptr %made
drop:
  call void @Py_DecRef(ptr %made)
  ret ptr null
no:
  ret ptr null
}

; a new array, and its address; null if Python failed
define internal ptr @result(ptr %plan, ptr %output, ptr %address) {
entry:
  %args = alloca [4 x ptr], align 8
  %size.at = getelementptr %output, ptr %output, i32 0, i32 2
  %size = load ptr, ptr %size.at
  %memory = call ptr @memory(ptr %plan, ptr %size, ptr %address)
  %lacking = icmp eq ptr %memory, null
  br i1 %lacking, label %no, label %make
make:
  %class = load ptr, ptr %plan
  store ptr %class, ptr %args
  %new.at = getelementptr %plan, ptr %plan, i32 0, i32 3
  %new = load ptr, ptr %new.at
  %array = call ptr @PyObject_Vectorcall(ptr %new, ptr %args, i64 1, ptr null)
  %unmade = icmp eq ptr %array, null
  br i1 %unmade, label %drop, label %fill
fill:
  store ptr %array, ptr %args
  %shape = load ptr, ptr %output
  %shape.to = getelementptr ptr, ptr %args, i64 1
  store ptr %shape, ptr %shape.to
  %dtype.at = getelementptr %output, ptr %output, i32 0, i32 1
  %dtype = load ptr, ptr %dtype.at
  %dtype.to = getelementptr ptr, ptr %args, i64 2
  store ptr %dtype, ptr %dtype.to
  %memory.to = getelementptr ptr, ptr %args, i64 3
  store ptr %memory, ptr %memory.to
  %fill.at = getelementptr %plan, ptr %plan, i32 0, i32 4
  %fill.it = load ptr, ptr %fill.at
  %said = call ptr @PyObject_Vectorcall(ptr %fill.it, ptr %args, i64 4, ptr null)
  call void @Py_DecRef(ptr %memory)
  %unfilled = icmp eq ptr %said, null
  br i1 %unfilled, label %lose, label %yes
yes:
  call void @Py_DecRef(ptr %said)
  ret ptr %array
lose:
  call void @Py_DecRef(ptr %array)
  ret ptr null
drop:
  call void @Py_DecRef(ptr %memory)
  ret ptr null
no:
  ret ptr null
}
"""

LAUNCH = """
; hands launches over; whether the driver and the library took all. Nobody else sees the words.
define internal i1 @launch(ptr %plan, ptr %job, ptr %bases, i64 %stream) {
entry:
  %words = alloca [MOST_WORDS x i64], align 16
  %places = alloca [MOST_WORDS x ptr], align 16
  %count.at = getelementptr %job, ptr %job, i32 0, i32 5
  %count = load i64, ptr %count.at
  %rows.at = getelementptr %job, ptr %job, i32 0, i32 6
  %rows = load ptr, ptr %rows.at
  %number.at = getelementptr %job, ptr %job, i32 0, i32 7
  %number = load i64, ptr %number.at
  %launches.at = getelementptr %job, ptr %job, i32 0, i32 8
  %launches = load ptr, ptr %launches.at
  %driver.at = getelementptr %plan, ptr %plan, i32 0, i32 8
  %driver = load ptr, ptr %driver.at
  %stream.pointer = inttoptr i64 %stream to ptr
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k.next, %word ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %word, label %go
word:
  %row = getelementptr %word, ptr %rows, i64 %k
  %base = load i64, ptr %row
  %offset.at = getelementptr %word, ptr %row, i32 0, i32 1
  %offset = load i64, ptr %offset.at
  %base.at = getelementptr i64, ptr %bases, i64 %base
  %from = load i64, ptr %base.at
  %value = add i64 %from, %offset
  %word.to = getelementptr i64, ptr %words, i64 %k
  store i64 %value, ptr %word.to
  %place.to = getelementptr ptr, ptr %places, i64 %k
  store ptr %word.to, ptr %place.to
  %k.next = add i64 %k, 1
  br label %next
go:
  %state = call ptr @PyEval_SaveThread()
  br label %following
following:
  %n = phi i64 [ 0, %go ], [ %n.next, %on ]
  %left = icmp slt i64 %n, %number
  br i1 %left, label %one, label %stop
one:
  %launch = getelementptr %launch, ptr %launches, i64 %n
  %first.at = getelementptr %launch, ptr %launch, i32 0, i32 9
  %first = load i64, ptr %first.at
  %product.at = getelementptr %launch, ptr %launch, i32 0, i32 10
  %product = load ptr, ptr %product.at
  %is.kernel = icmp eq ptr %product, null
  br i1 %is.kernel, label %kernel, label %multiply
kernel:
  %function = load ptr, ptr %launch
  %parameters = getelementptr ptr, ptr %places, i64 %first
  %gx.at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %gx = load i32, ptr %gx.at
  %gy.at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %gy = load i32, ptr %gy.at
  %gz.at = getelementptr %launch, ptr %launch, i32 0, i32 3
  %gz = load i32, ptr %gz.at
  %bx.at = getelementptr %launch, ptr %launch, i32 0, i32 4
  %bx = load i32, ptr %bx.at
  %by.at = getelementptr %launch, ptr %launch, i32 0, i32 5
  %by = load i32, ptr %by.at
  %bz.at = getelementptr %launch, ptr %launch, i32 0, i32 6
  %bz = load i32, ptr %bz.at
  %shared.at = getelementptr %launch, ptr %launch, i32 0, i32 7
  %shared = load i32, ptr %shared.at
  %launched = call i32 %driver(ptr %function, i32 %gx, i32 %gy, i32 %gz, i32 %bx, i32 %by, i32 %bz,
    i32 %shared, ptr %stream.pointer, ptr %parameters, ptr null)
  br label %on
multiply:
  %multiplied = call i32 @multiply(ptr %product, ptr %words, i64 %first, ptr %stream.pointer)
  br label %on
on:
  %status = phi i32 [ %launched, %kernel ], [ %multiplied, %multiply ]
  %n.next = add i64 %n, 1
  %good = icmp eq i32 %status, 0
  br i1 %good, label %following, label %stop
stop:
  %all = phi i1 [ true, %following ], [ false, %on ]
  call void @PyEval_RestoreThread(ptr %state)
  ret i1 %all
}

; the status of a library's product, whose operands, result and workspace are four words
define internal i32 @multiply(ptr %product, ptr %words, i64 %first, ptr %stream) {
  %left.at = getelementptr ptr, ptr %words, i64 %first
  %left = load ptr, ptr %left.at
  %right.at = getelementptr ptr, ptr %left.at, i64 1
  %right = load ptr, ptr %right.at
  %result.at = getelementptr ptr, ptr %left.at, i64 2
  %result = load ptr, ptr %result.at
  %room.at = getelementptr ptr, ptr %left.at, i64 3
  %room = load ptr, ptr %room.at
  %function = load ptr, ptr %product
  %handle.at = getelementptr %product, ptr %product, i32 0, i32 1
  %handle = load ptr, ptr %handle.at
  %operation.at = getelementptr %product, ptr %product, i32 0, i32 2
  %operation = load ptr, ptr %operation.at
  %one.at = getelementptr %product, ptr %product, i32 0, i32 3
  %one = load ptr, ptr %one.at
  %of.right.at = getelementptr %product, ptr %product, i32 0, i32 4
  %of.right = load ptr, ptr %of.right.at
  %of.left.at = getelementptr %product, ptr %product, i32 0, i32 5
  %of.left = load ptr, ptr %of.left.at
  %zero.at = getelementptr %product, ptr %product, i32 0, i32 6
  %zero = load ptr, ptr %zero.at
  %of.result.at = getelementptr %product, ptr %product, i32 0, i32 7
  %of.result = load ptr, ptr %of.result.at
  %algorithm.at = getelementptr %product, ptr %product, i32 0, i32 8
  %algorithm = load ptr, ptr %algorithm.at
  %size.at = getelementptr %product, ptr %product, i32 0, i32 9
  %size = load i64, ptr %size.at
  %status = call i32 %function(ptr %handle, ptr %operation, ptr %one, ptr %right, ptr %of.right,
    ptr %left, ptr %of.left, ptr %zero, ptr %result, ptr %of.result, ptr %result, ptr %of.result,
    ptr %algorithm, ptr %room, i64 %size, ptr %stream)
  ret i32 %status
}
"""

JOB = """
; whether the device of a job is the active one; -1: Python's exception is set
define internal i64 @is.active(ptr %plan, ptr %job) {
entry:
  %ask.at = getelementptr %plan, ptr %plan, i32 0, i32 6
  %ask = load ptr, ptr %ask.at
  %alone = icmp eq ptr %ask, null
  br i1 %alone, label %yes, label %call
call:
  %number = call ptr @PyObject_Vectorcall(ptr %ask, ptr null, i64 0, ptr null)
  %failed = icmp eq ptr %number, null
  br i1 %failed, label %bad, label %compare
compare:
  %active = call i64 @PyLong_AsLongLong(ptr %number)
  call void @Py_DecRef(ptr %number)
  %device = load i64, ptr %job
  %same = icmp eq i64 %active, %device
  %one = zext i1 %same to i64
  ret i64 %one
yes:
  ret i64 1
bad:
  ret i64 -1
}

; the results of a job for the addresses of inputs in its bases: a list, None if the driver refuses,
; null if Python failed
define internal ptr @run(ptr %plan, ptr %job, ptr %bases) {
entry:
  %inputs.at = getelementptr %job, ptr %job, i32 0, i32 1
  %inputs = load i64, ptr %inputs.at
  %count.at = getelementptr %job, ptr %job, i32 0, i32 2
  %count = load i64, ptr %count.at
  %outputs.at = getelementptr %job, ptr %job, i32 0, i32 3
  %outputs = load ptr, ptr %outputs.at
  %arena.at = getelementptr %job, ptr %job, i32 0, i32 4
  %arena.size = load ptr, ptr %arena.at
  %behind = add i64 %inputs, 1
  %places = getelementptr i64, ptr %bases, i64 %behind
  %list = call ptr @PyList_New(i64 %count)
  %unmade = icmp eq ptr %list, null
  br i1 %unmade, label %bad, label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %put ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %room
one:
  %output = getelementptr %output, ptr %outputs, i64 %i
  %place = getelementptr i64, ptr %places, i64 %i
  %array = call ptr @result(ptr %plan, ptr %output, ptr %place)
  %lacking = icmp eq ptr %array, null
  br i1 %lacking, label %drop, label %put
put:
  %ignored = call i32 @PyList_SetItem(ptr %list, i64 %i, ptr %array)
  %i.next = add i64 %i, 1
  br label %next
room:
  %is.small = icmp eq ptr %arena.size, null
  br i1 %is.small, label %stream, label %arena
arena:
  %arena.place = getelementptr i64, ptr %places, i64 %count
  %made = call ptr @memory(ptr %plan, ptr %arena.size, ptr %arena.place)
  %cramped = icmp eq ptr %made, null
  br i1 %cramped, label %drop, label %stream
stream:
  %arena.memory = phi ptr [ null, %room ], [ %made, %arena ]
  %current.at = getelementptr %plan, ptr %plan, i32 0, i32 7
  %current = load ptr, ptr %current.at
  %number = call i64 %current()
  %raised = call ptr @PyErr_Occurred()
  %calm = icmp eq ptr %raised, null
  br i1 %calm, label %hand, label %lose
hand:
  %taken = call i1 @launch(ptr %plan, ptr %job, ptr %bases, i64 %number)
  br label %lose
lose:
  %given = phi i1 [ false, %stream ], [ %taken, %hand ]
  %had = icmp ne ptr %arena.memory, null
  br i1 %had, label %free, label %say
free:
  call void @Py_DecRef(ptr %arena.memory)
  br label %say
say:
  br i1 %given, label %yes, label %refused
yes:
  ret ptr %list
refused:
  call void @Py_DecRef(ptr %list)
  br i1 %calm, label %none, label %bad
none:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
drop:
  call void @Py_DecRef(ptr %list)
  ret ptr null
bad:
  ret ptr null
}

; Python's launched(arrays): the results; None where there is no job for such arrays, or the driver
; refuses it
define ptr @launched(ptr %self, ptr %args, i64 %ignored) {
entry:
  %form = alloca [MOST_FORM x i64], align 8
  %bases = alloca [MOST_BASES x i64], align 8
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %list = load ptr, ptr %args
  store i64 0, ptr %bases
  %addresses = getelementptr i64, ptr %bases, i64 1
  %count = call i64 @form.of(ptr %plan, ptr %list, ptr %form, ptr %addresses)
  %none = icmp eq i64 %count, 0
  br i1 %none, label %no, label %look
look:
  %bytes = shl i64 %count, 3
  %key = call ptr @PyBytes_FromStringAndSize(ptr %form, i64 %bytes)
  %unmade = icmp eq ptr %key, null
  br i1 %unmade, label %bad, label %ask
ask:
  %known.at = getelementptr %plan, ptr %plan, i32 0, i32 1
  %known = load ptr, ptr %known.at
  %found = call ptr @PyDict_GetItemWithError(ptr %known, ptr %key)
  call void @Py_DecRef(ptr %key)
  %unknown = icmp eq ptr %found, null
  br i1 %unknown, label %no, label %hold
hold:
  call void @Py_IncRef(ptr %found)
  %job.at = getelementptr %tuple, ptr %found, i32 0, i32 3, i64 0
  %job.object = load ptr, ptr %job.at
  %job = call ptr @PyLong_AsVoidPtr(ptr %job.object)
  %numbers.at = getelementptr %tuple, ptr %found, i32 0, i32 3, i64 1
  %numbers = load ptr, ptr %numbers.at
  %there = call i1 @numbers(ptr %plan, ptr %list, ptr %numbers, ptr %addresses)
  br i1 %there, label %device, label %leave
device:
  %active = call i64 @is.active(ptr %plan, ptr %job)
  switch i64 %active, label %fail [ i64 1, label %go
                                    i64 0, label %leave ]
go:
  %results = call ptr @run(ptr %plan, ptr %job, ptr %bases)
  call void @Py_DecRef(ptr %found)
  ret ptr %results
fail:
  call void @Py_DecRef(ptr %found)
  ret ptr null
leave:
  call void @Py_DecRef(ptr %found)
  br label %no
no:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
bad:
  ret ptr null
}
"""


def code() -> str:
    """A module."""
    text = "\n".join((STRUCTURES, FORM, NUMBERS, MEMORY, LAUNCH, JOB))
    bases = {"MOST_BASES": 2 + MOST_INPUTS + MOST_OUTPUTS, "MOST_WORDS": MOST_WORDS}
    for name, size in (SIZES | bases).items():
        text = text.replace(name, str(size))
    return text

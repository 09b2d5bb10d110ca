"""LLVM IR of a loop: steps that run again and again; see `native`."""

from __future__ import annotations

REPEAT = """
declare ptr @memmove(ptr, ptr, i64)
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()

; lets handlers of signals run, Ctrl-C among them, and other threads; whether one has raised
define internal i1 @is_interrupted() {
entry:
  %held = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  %yes = icmp ne i32 %raised, 0
  %locked = icmp eq i32 %held, 0                                ; already: the run has kept the lock
  br i1 %locked, label %hand, label %done
hand:
  %state = call ptr @PyEval_SaveThread()
  call void @PyEval_RestoreThread(ptr %state)
  br label %done
done:
  call void @PyGILState_Release(i32 %held)
  ret i1 %yes
}

; a kernel that runs steps again and again, until one fails, or somebody interrupts
define void @repeat(ptr %slots, ptr %repeat, i64 %begin, i64 %end) {
entry:
  %times = load i64, ptr %repeat
  %steps.at = getelementptr %repeat, ptr %repeat, i32 0, i32 1
  %steps = load ptr, ptr %steps.at
  %count.at = getelementptr %repeat, ptr %repeat, i32 0, i32 2
  %count = load i64, ptr %count.at
  %before.at = getelementptr %repeat, ptr %repeat, i32 0, i32 3
  %before = load ptr, ptr %before.at
  %befores.at = getelementptr %repeat, ptr %repeat, i32 0, i32 4
  %befores = load i64, ptr %befores.at
  %between.at = getelementptr %repeat, ptr %repeat, i32 0, i32 5
  %between = load ptr, ptr %between.at
  %betweens.at = getelementptr %repeat, ptr %repeat, i32 0, i32 6
  %betweens = load i64, ptr %betweens.at
  %pool.at = getelementptr %repeat, ptr %repeat, i32 0, i32 7
  %pool = load ptr, ptr %pool.at
  %going.at = getelementptr %repeat, ptr %repeat, i32 0, i32 8
  %going = load i64, ptr %going.at
  %asks = icmp ne i64 %going, 0
  %patience.at = getelementptr %repeat, ptr %repeat, i32 0, i32 11
  %patience = load i64, ptr %patience.at
  call void @move(ptr %before, i64 %befores, ptr %slots)
  br label %next
next:
  %t = phi i64 [ 0, %entry ], [ %t.next, %on ], [ %t.next, %look.up ]
  %left = phi i64 [ %patience, %entry ], [ %left.next, %on ], [ %patience, %look.up ]
  %more = icmp slt i64 %t, %times
  br i1 %more, label %ask, label %done
ask:
  br i1 %asks, label %look, label %go
look:
  %word.at = getelementptr ptr, ptr %slots, i64 %going
  %word = load ptr, ptr %word.at
  %answer = load i8, ptr %word
  %yes = icmp ne i8 %answer, 0
  br i1 %yes, label %go, label %done
go:
  %at = call i64 @run_steps(ptr %steps, i64 %count, ptr %pool, ptr %slots, i64 0)
  %all = icmp eq i64 %at, %count
  br i1 %all, label %on, label %done
on:
  call void @move(ptr %between, i64 %betweens, ptr %slots)
  %t.next = add i64 %t, 1
  %left.next = sub i64 %left, 1
  %due = icmp eq i64 %left.next, 0
  br i1 %due, label %look.up, label %next
look.up:
  %stops = call i1 @is_interrupted()
  br i1 %stops, label %interrupt, label %next
interrupt:
  store i64 3, ptr %slots
  br label %done
done:
  %copies.at = getelementptr %repeat, ptr %repeat, i32 0, i32 9
  %copies = load ptr, ptr %copies.at
  %copied.at = getelementptr %repeat, ptr %repeat, i32 0, i32 10
  %copied = load i64, ptr %copied.at
  call void @copy(ptr %copies, i64 %copied, ptr %slots)
  ret void
}

; what lies in the memory of some slots, to that of others
define internal void @copy(ptr %copies, i64 %count, ptr %slots) {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %on ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %copy = getelementptr %move, ptr %copies, i64 %i
  %number = load i64, ptr %copy
  %source.at = getelementptr %move, ptr %copy, i32 0, i32 1
  %source = load i64, ptr %source.at
  %size.at = getelementptr %move, ptr %copy, i32 0, i32 2
  %size = load i64, ptr %size.at
  %from.at = getelementptr ptr, ptr %slots, i64 %source
  %from = load ptr, ptr %from.at
  %to.at = getelementptr ptr, ptr %slots, i64 %number
  %to = load ptr, ptr %to.at
  %same = icmp eq ptr %from, %to
  br i1 %same, label %on, label %fill
fill:
  %ignored = call ptr @memmove(ptr %to, ptr %from, i64 %size)
  br label %on
on:
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}

; slots that become other slots, some bytes further
define internal void @move(ptr %moves, i64 %count, ptr %slots) {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %move = getelementptr %move, ptr %moves, i64 %i
  %number = load i64, ptr %move
  %source.at = getelementptr %move, ptr %move, i32 0, i32 1
  %source = load i64, ptr %source.at
  %by.at = getelementptr %move, ptr %move, i32 0, i32 2
  %by = load i64, ptr %by.at
  %from = getelementptr i64, ptr %slots, i64 %source
  %old = load i64, ptr %from
  %new = add i64 %old, %by
  %slot = getelementptr i64, ptr %slots, i64 %number
  store i64 %new, ptr %slot
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}
"""

"""LLVM IR of the thread pool: a thread's loop, and a launch shared out (see `threads`)."""

from __future__ import annotations

import platform
import sys
from string import Template

# Offsets of the words of the control block.
TICKET, LAUNCH, SLOTS, CHUNKS, DONE, BUSY, PARKED, THREADS = 0, 64, 72, 80, 128, 192, 256, 320

CHUNKS_PER_THREAD = 4
SPINS = 10_000  # looks at the ticket before a thread parks: 0.1 to 0.5 ms
SHARE, WAKE = 1, 3  # of a launch: for threads that are awake; worth waking the others for

# Architecture -> the instruction that eases a spinning core (its name, the types of its operands,
# its operands), and the number of the futex call.
SYSTEMS = {
    "x86_64": ("llvm.x86.sse2.pause", "", "", 202),
    "aarch64": ("llvm.aarch64.hint", "i32", "i32 1", 98),
}

CODE = Template("""
%launch = type { ptr, ptr, i64, i64 }
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare void @$PAUSE($PAUSE_TYPES)

; the kernel's futex: 128 waits while the word has the value, 129 wakes so many that wait
define internal void @futex(ptr %word, i32 %what, i32 %value) {
  call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 %what, i32 %value, ptr null)
  ret void
}

; the items of the last `left` chunks. Each chunk has fewer than the one before, so that nobody
; waits long for the last one; where there are no more items than chunks, each has one
define internal i64 @behind(i64 %items, i64 %left, i64 %chunks) {
  %single = icmp eq i64 %items, %chunks
  %square = mul i64 %left, %left
  %scaled = mul i64 %items, %square
  %parts = mul i64 %chunks, %chunks
  %several = udiv i64 %scaled, %parts
  %behind = select i1 %single, i64 %left, i64 %several
  ret i64 %behind
}

; takes and computes chunks until none is left
define internal void @drain(ptr %pool) {
entry:
  %done = getelementptr i8, ptr %pool, i64 $DONE
  %launch.at = getelementptr i8, ptr %pool, i64 $LAUNCH
  %slots.at = getelementptr i8, ptr %pool, i64 $SLOTS
  %chunks.at = getelementptr i8, ptr %pool, i64 $CHUNKS
  br label %try
try:
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %left32 = trunc i64 %ticket to i32
  %some = icmp ne i32 %left32, 0
  br i1 %some, label %claim, label %out
claim:
  %fewer = sub i64 %ticket, 1
  %swap = cmpxchg ptr %pool, i64 %ticket, i64 %fewer acq_rel monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %run, label %try
run:
  %launch = load ptr, ptr %launch.at
  %slots = load ptr, ptr %slots.at
  %chunks = load i64, ptr %chunks.at
  %function = load ptr, ptr %launch
  %record.at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %record = load ptr, ptr %record.at
  %items.at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %items = load i64, ptr %items.at
  %left = zext i32 %left32 to i64
  %behind = call i64 @behind(i64 %items, i64 %left, i64 %chunks)
  %begin = sub i64 %items, %behind
  %left.next = sub i64 %left, 1
  %behind.next = call i64 @behind(i64 %items, i64 %left.next, i64 %chunks)
  %end = sub i64 %items, %behind.next
  call void %function(ptr %slots, ptr %record, i64 %begin, i64 %end)
  %before = atomicrmw add ptr %done, i32 1 release
  br label %try
out:
  ret void
}

; a thread: argument -> address of the pool, its own number
define ptr @work(ptr %argument) {
entry:
  %pool = load ptr, ptr %argument
  %number.at = getelementptr i8, ptr %argument, i64 8
  %number = load i32, ptr %number.at
  %parked = getelementptr i8, ptr %pool, i64 $PARKED
  %threads = getelementptr i8, ptr %pool, i64 $THREADS
  %generation = getelementptr i8, ptr %pool, i64 4
  br label %idle
idle:
  %limit = load atomic i32, ptr %threads acquire, align 4
  %welcome = icmp slt i32 %number, %limit
  br i1 %welcome, label %look, label %leave
leave:
  call void @futex(ptr %threads, i32 128, i32 %limit)
  br label %idle
look:
  %spins = phi i32 [ 0, %idle ], [ %spins.next, %pause ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %left = trunc i64 %ticket to i32
  %some = icmp ne i32 %left, 0
  br i1 %some, label %go, label %pause
go:
  call void @drain(ptr %pool)
  br label %idle
pause:
  call void @$PAUSE($PAUSE_OPERANDS)
  %spins.next = add i32 %spins, 1
  %tired = icmp ugt i32 %spins.next, $SPINS
  br i1 %tired, label %park, label %look
park:                          ; returns at once if a launch was published since `ticket` was read
  %high = lshr i64 %ticket, 32
  %seen = trunc i64 %high to i32
  %in = atomicrmw add ptr %parked, i32 1 seq_cst
  call void @futex(ptr %generation, i32 128, i32 %seen)
  %out = atomicrmw sub ptr %parked, i32 1 seq_cst
  br label %idle
}

; one launch, by all threads that come
define void @parallel(ptr %pool, ptr %launch, ptr %slots) {
entry:
  %items.at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %items = load i64, ptr %items.at
  %threads.at = getelementptr i8, ptr %pool, i64 $THREADS
  %threads = load atomic i32, ptr %threads.at monotonic, align 4
  %company = icmp sgt i32 %threads, 1
  %several = icmp sgt i64 %items, 1
  %worth = and i1 %company, %several
  br i1 %worth, label %enter, label %alone
enter:
  %busy = getelementptr i8, ptr %pool, i64 $BUSY
  %swap = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic
  %ours = extractvalue { i32, i1 } %swap, 1
  br i1 %ours, label %publish, label %alone
publish:
  %most32 = mul i32 %threads, $CHUNKS_PER_THREAD
  %most = zext i32 %most32 to i64
  %few = icmp slt i64 %items, %most
  %chunks = select i1 %few, i64 %items, i64 %most
  %launch.at = getelementptr i8, ptr %pool, i64 $LAUNCH
  %slots.at = getelementptr i8, ptr %pool, i64 $SLOTS
  %chunks.at = getelementptr i8, ptr %pool, i64 $CHUNKS
  %done = getelementptr i8, ptr %pool, i64 $DONE
  %generation = getelementptr i8, ptr %pool, i64 4
  store ptr %launch, ptr %launch.at
  store ptr %slots, ptr %slots.at
  store i64 %chunks, ptr %chunks.at
  store atomic i32 0, ptr %done monotonic, align 4
  %last = load atomic i64, ptr %pool monotonic, align 8
  %numbered = add i64 %last, 4294967296
  %ticket = or i64 %numbered, %chunks
  store atomic i64 %ticket, ptr %pool seq_cst, align 8
  %sharing.at = getelementptr %launch, ptr %launch, i32 0, i32 3
  %sharing = load i64, ptr %sharing.at
  %waking = icmp eq i64 %sharing, $WAKE
  br i1 %waking, label %sleepers, label %work
sleepers:
  %parked.at = getelementptr i8, ptr %pool, i64 $PARKED
  %parked = load atomic i32, ptr %parked.at seq_cst, align 4
  %any = icmp ne i32 %parked, 0
  br i1 %any, label %wake, label %work
wake:
  %chunks32 = trunc i64 %chunks to i32
  call void @futex(ptr %generation, i32 129, i32 %chunks32)
  br label %work
work:
  call void @drain(ptr %pool)
  %all = trunc i64 %chunks to i32
  br label %wait
wait:                          ; for chunks that others took; at length the core is given up
  %looks = phi i32 [ 0, %work ], [ %looks.next, %again ]
  %ready = load atomic i32, ptr %done acquire, align 4
  %over = icmp eq i32 %ready, %all
  br i1 %over, label %leave, label %pause
pause:
  call void @$PAUSE($PAUSE_OPERANDS)
  %looks.next = add i32 %looks, 1
  %long = icmp ugt i32 %looks.next, 2000
  br i1 %long, label %yield, label %again
yield:
  call i32 @sched_yield()
  br label %again
again:
  br label %wait
leave:
  store atomic i32 0, ptr %busy release, align 4
  ret void
alone:
  %function = load ptr, ptr %launch
  %record.at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %record = load ptr, ptr %record.at
  call void %function(ptr %slots, ptr %record, i64 0, i64 %items)
  ret void
}

; sets a word and wakes whoever waits on it
define void @announce(ptr %word, i32 %value) {
  store atomic i32 %value, ptr %word seq_cst, align 4
  call void @futex(ptr %word, i32 129, i32 2147483647)
  ret void
}
""")

ALONE = """
%launch = type { ptr, ptr, i64, i64 }

define void @parallel(ptr %pool, ptr %launch, ptr %slots) {
  %function = load ptr, ptr %launch
  %record.at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %record = load ptr, ptr %record.at
  %items.at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %items = load i64, ptr %items.at
  call void %function(ptr %slots, ptr %record, i64 0, i64 %items)
  ret void
}
"""


def supported() -> bool:
    """Whether this system has what threads need: Linux, and a known architecture."""
    return sys.platform == "linux" and platform.machine() in SYSTEMS


def code() -> str:
    """The LLVM IR for this system; where threads are not supported, `parallel` runs alone."""
    if not supported():
        return ALONE
    names = {name: value for name, value in globals().items() if name.isupper()}
    words = ("PAUSE", "PAUSE_TYPES", "PAUSE_OPERANDS", "FUTEX")
    return CODE.substitute(names, **dict(zip(words, SYSTEMS[platform.machine()], strict=True)))

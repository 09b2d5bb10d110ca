"""Object files loaded without LLVM: the same code, and LLVM's linker for what is beyond."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from functools import cache
from pathlib import Path

import pytest

from jit.runtime import cpu, objects
from jit.runtime.objects import Image, Unloadable, loaded

here = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="objects of other processors"
)

TEXT = """
@table = private constant [4 x double] [double 2.5, double 3.0, double 4.0, double 5.0]
@ten = private constant double 10.0

define double @entry(i64 %k) nounwind {
  %place = getelementptr [4 x double], ptr @table, i64 0, i64 %k
  %x = load double, ptr %place
  %y = call double @inner(double %x)
  ret double %y
}

define double @inner(double %x) noinline nounwind {
  %ten = load double, ptr @ten
  %y = fmul double %x, %ten
  %z = fadd double %y, 0.125
  ret double %z
}
"""
OUTSIDE = """
@number = external global i64
declare i64 @added(i64)
declare i64 @labs(i64)

define i64 @entry(i64 %x) {
  %number = load i64, ptr @number
  %y = add i64 %x, %number
  %z = call i64 @added(i64 %y)
  %w = call i64 @labs(i64 %z)
  ret i64 %w
}
"""


@cache
def assembled(text):
    return cpu.assemble(text, cpu.host_target())


def function(address, result, *arguments):
    return ctypes.CFUNCTYPE(result, *arguments)(address)


@here
def test_code_reads_its_constants_and_calls_its_functions():
    image = loaded([assembled(TEXT)])
    entry = function(image.address["entry"], ctypes.c_double, ctypes.c_int64)
    assert [entry(k) for k in range(4)] == [25.125, 30.125, 40.125, 50.125]


@here
def test_several_objects_are_one_image():
    texts = [TEXT.replace("@entry", f"@entry{k}").replace("@inner", f"@inner{k}") for k in range(3)]
    image = loaded([assembled(text.replace("10.0", f"{k}.0")) for k, text in enumerate(texts)])
    found = [
        function(image.address[f"entry{k}"], ctypes.c_double, ctypes.c_int64)(0) for k in range(3)
    ]
    assert found == [0.125, 2.625, 5.125]


@here
def test_what_is_outside_is_found_wherever_it_lies():
    number = ctypes.c_int64(5)

    @ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    def added(x):
        return x - 100

    address = ctypes.cast(added, ctypes.c_void_p).value
    image = loaded(
        [assembled(OUTSIDE)], {"number": ctypes.addressof(number), "added": address}
    )  # and labs is the process' own
    entry = function(image.address["entry"], ctypes.c_int64, ctypes.c_int64)
    assert entry(7) == 88
    number.value = 93
    assert entry(7) == 0


@here
def test_who_lacks_a_symbol_is_not_loaded():
    with pytest.raises(Unloadable, match="nobody has number"):
        loaded([assembled(OUTSIDE)])


@here
def test_pages_cannot_be_written():
    image = loaded([assembled(TEXT)])
    assert rights_at(image.address["entry"]) == ["r-xp"]


def rights_at(address):
    """What may be done to the memory at an address; empty where there is none."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *_ = line.split()
        start, end = (int(x, 16) for x in place.split("-"))
        found += [rights] if start <= address < end else []
    return found


@here
def test_pages_go_with_the_image():
    image = loaded([assembled(TEXT)])
    address = image.address["entry"]
    assert rights_at(address)
    del image
    gc.collect()
    assert not rights_at(address)


DAMAGED = {
    "nothing": lambda code: b"",
    "no object file": lambda code: b"text" + code,
    "cut off": lambda code: code[: len(code) // 2],
    "sections elsewhere": lambda code: code[:40] + b"\xff" * 4 + code[44:],
}


@pytest.mark.parametrize("damage", DAMAGED)
@here
def test_what_is_damaged_is_told_and_never_given_to_llvm(damage, monkeypatch):
    monkeypatch.delattr(cpu, "linked_by_llvm")
    with pytest.raises(RuntimeError, match=r"no whole|no object|cut off"):
        cpu.link([DAMAGED[damage](assembled(TEXT))], ["entry"])


def test_another_processor_is_left_to_llvm():
    code = assembled(TEXT)
    with pytest.raises(Unloadable, match="this processor"):
        Image([code[:18] + b"\xb7" + code[19:]], {})


def test_what_is_written_is_left_to_llvm():
    text = (
        "@count = global i64 3\ndefine i64 @entry() {\n  %x = load i64, ptr @count\n  ret i64 %x\n}"
    )
    code = assembled(text)
    with pytest.raises(Unloadable, match="written"):
        Image([code], {})
    addresses, held = cpu.link([code], ["entry"])
    assert function(addresses["entry"], ctypes.c_int64)() == 3
    assert not isinstance(held, Image)


def test_every_system_links(monkeypatch):
    """Where nothing is loaded here, LLVM's linker gives the same code."""
    monkeypatch.setattr(objects.sys, "platform", "another")
    addresses, held = cpu.link([assembled(TEXT)], ["entry", "inner"])
    assert not isinstance(held, Image)
    entry = function(addresses["entry"], ctypes.c_double, ctypes.c_int64)
    assert [entry(k) for k in range(4)] == [25.125, 30.125, 40.125, 50.125]


@here
def test_a_symbol_that_is_asked_for_in_vain_is_told():
    with pytest.raises((RuntimeError, ValueError)):
        cpu.link([assembled(TEXT)], ["another"])

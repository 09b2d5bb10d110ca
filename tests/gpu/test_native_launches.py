"""Ops on a GPU by native code: what it hands to the driver; and eager programs that go that way."""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.core import gpu_kernels
from jit.runtime import gpu_launches
from jit.runtime.cublas import MATMUL
from jit.runtime.cublas_choice import Choice
from jit.runtime.gpu_launches import Host, Launches, entry
from tests.gpu.test_entry import F4, I8, PLACE, Kind, array, called
from tests.modes import bits, graphs_only

pytestmark = graphs_only
LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3
)
STREAM = ctypes.CFUNCTYPE(ctypes.c_int64)
PRODUCT = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 14, ctypes.c_size_t, ctypes.c_void_p)
KERNEL, ON = 77 << 32, 5  # a function, a stream
SIZES = (7, 1, 1, 128, 2, 1, 64)  # blocks, threads, shared bytes


class Memory:
    """What CuPy allocates."""

    places = 1 << 20

    def __init__(self, size):
        self.size = size
        Memory.places += 1 << 12
        self.ptr = Memory.places


class Machine:
    """Whom native code calls, and what it was asked for."""

    def __init__(self):
        self.launched, self.memory, self.products = [], [], []
        self.status, self.room, self.active = 0, 1 << 20, 1
        self._kept = LAUNCH(self.launch), STREAM(lambda: ON), PRODUCT(self.multiply)
        launch, stream, self.product = [ctypes.cast(f, ctypes.c_void_p).value for f in self._kept]
        runtime = SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: self.active)
        module = SimpleNamespace(
            ndarray=Kind, cuda=SimpleNamespace(alloc=self.alloc, runtime=runtime)
        )
        self.host = Host(module, (Kind.__new__, self.fill), stream, launch)

    def alloc(self, size):
        if size > self.room:
            raise MemoryError
        made = Memory(size)
        self.memory.append(weakref.ref(made))
        return made

    @staticmethod
    def fill(made, shape, dtype, memory):
        made.shape, made.dtype, made.memory = shape, dtype, memory

    def launch(self, function, *rest):
        *sizes, stream, parameters, extra = rest
        pointers = (ctypes.c_void_p * 3).from_address(parameters)
        words = [ctypes.c_int64.from_address(p).value for p in pointers]
        self.launched.append((function, tuple(sizes), stream, extra, words))
        return self.status

    def multiply(self, *given):
        self.products.append(given)
        return self.status

    @property
    def alive(self):
        gc.collect()
        return sum(x() is not None for x in self.memory)


@pytest.fixture
def host():
    pytest.importorskip("llvmlite")
    return Machine()


def job(**changed):
    """Two inputs, one result, temporaries: two launches of three parameters each."""
    launches = [((KERNEL, *SIZES), 0), ((KERNEL + 1, *SIZES), 3)]
    words = [(1, 0), (2, 16), (4, 256), (4, 0), (0, 99), (3, 0)]
    given = {"device": 1, "inputs": [None] * 2, "outputs": [((3, 4), F4, 48)], "arena": 512}
    return SimpleNamespace(**given | {"words": words, "launches": launches} | changed)


def some():
    return [array((3, 4), F4, PLACE), array((4,), F4, 2 * PLACE)]


def known(host, what, arrays):
    """Launches that know a job for arrays, and what was found for their form."""
    launches = Launches(host.host)
    form = called(launches._form, arrays)
    launches.known[form] = entry(what, [F4])
    return launches, launches.known[form]


def test_launches_have_the_addresses_of_arrays_results_and_temporaries(host):
    launches, _ = known(host, job(), some())
    for _ in range(2):
        host.launched.clear()
        (made,) = called(launches.run, some())
        assert (made.__class__, made.shape, made.dtype) == (Kind, (3, 4), F4)
        arena = made.memory.ptr + 4096
        first, second = host.launched
        assert first == (KERNEL, SIZES, ON, None, [PLACE, 2 * PLACE + 16, arena + 256])
        assert second == (KERNEL + 1, SIZES, ON, None, [arena, 99, made.memory.ptr])
        assert host.alive == 1  # not the temporaries, nor what was made before
        del made
    assert host.alive == 0


OTHERS = {
    "dtype": lambda x: setattr(x, "dtype", id(I8)),
    "extent": lambda x: x.alive[0].__setitem__(0, 5),
    "rank": lambda x: x.dims.__setitem__(1, x.dims[1] - 8),
    "device": lambda x: setattr(x.alive[1], "device", 0),
    "alignment": lambda x: setattr(x.alive[1], "address", PLACE + 8),
    "class": lambda x: setattr(x, "type", id(Memory)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_of_arrays_that_are_unlike_nothing_is_known(host, what):
    launches, _ = known(host, job(), some())
    arrays = some()
    OTHERS[what](arrays[0])
    assert called(launches.run, arrays) is None
    assert called(launches.run, some()[:1]) is None
    assert (host.launched, host.memory) == ([], [])
    assert called(launches.run, some()) is not None


def test_arrays_with_gaps_are_told_apart_by_their_strides(host):
    def turned(*strides):
        made = array((3, 4), F4, PLACE)
        made.c_contiguous, made.alive = 0, (made.alive, (ctypes.c_int64 * 2)(*strides))
        made.strides[0] = ctypes.addressof(made.alive[1])
        return [made, some()[1]]

    launches, _ = known(host, job(), turned(4, 12))
    assert called(launches.run, turned(4, 12)) is not None
    assert called(launches.run, turned(4, 16)) is None
    assert called(launches.run, some()) is None


def test_numbers_stand_for_arrays_of_which_each_is_known(host):
    launches = Launches(host.host)
    one = job(inputs=[None] * 3, words=[(1, 0), (2, 0), (3, 0)] * 2)
    place = {}
    for kind in (float, int, bool):
        x = SimpleNamespace(data=SimpleNamespace(ptr=512 * (1 + len(place))), dtype=F4)
        place[kind] = x.data.ptr
        launches.learn([kind(1), kind(1), kind(1)], [x, x, x], one)
    for kind in (float, int, bool):
        assert launches.run([kind(1)] * 3) is not None
        assert host.launched[-1][-1] == [place[kind]] * 3
    host.launched.clear()
    launches.learn([0.0, 1.0, 1.0], [x, x, x], one)
    for others in ([-0.0, 1.0, 1.0], [2.0, 1.0, 1.0], [1, 1, 2**70], [1, 1, 1j], [1, 1, "x"]):
        assert launches.run(others) is None
    launches.learn([1, 1, 2**70], [x, x, x], one)
    assert launches.run([1, 1, 2**70]) is None
    assert host.launched == []
    assert launches.run([0.0, 1.0, 1.0]) is not None


def test_what_the_driver_refuses_is_left_to_python(host):
    launches, _ = known(host, job(), some())
    host.status = 1
    assert called(launches.run, some()) is None
    assert (len(host.launched), host.alive) == (1, 0)
    host.status, host.active = 0, 0  # another GPU is active
    assert called(launches.run, some()) is None
    assert len(host.launched) == 1
    host.active = 1
    assert called(launches.run, some()) is not None


@pytest.mark.parametrize("room", [40, 500])
def test_without_memory_nothing_is_launched(host, room):
    launches, _ = known(host, job(), some())
    host.room = room
    with pytest.raises(MemoryError):
        called(launches.run, some())
    assert (host.launched, host.alive) == ([], 0)


def test_the_library_is_called_with_what_it_is_called_with_by_python(host):
    numbers = [host.product, *range(1, 8)]
    multiply = SimpleNamespace(words=lambda: numbers, product=SimpleNamespace(epilogue=""))
    choice = Choice(multiply, SimpleNamespace(words=bytes(64), workspace=32))
    words = [(1, 0), (2, 0), (3, 0), (4, 0)]
    launches, _ = known(host, job(words=words, launches=[(choice, 0)]), some())
    (made,) = called(launches.run, some())
    ((*given, size, stream),) = host.products
    algorithm, result = given[12], made.memory.ptr
    assert len(MATMUL) == len(given) + 2
    assert given[:8] == [1, 2, 3, 2 * PLACE, 4, PLACE, 5, 6]
    assert given[8:] == [result, 7, result, 7, algorithm, result + 4096]
    assert algorithm % 8 == 0
    assert (size, stream, host.launched) == (32, ON, [])


def test_what_is_too_large_is_left_to_python():
    assert entry(job(words=[(0, 0)] * 1000), []) is None
    assert entry(job(outputs=[((), F4, 4)] * 99), []) is None


def test_what_adds_a_bias_is_left_to_python():
    """Who tells the library where the bias is, one thread at a time."""
    choice = Choice(SimpleNamespace(product=SimpleNamespace(epilogue="bias")), None)
    assert entry(job(launches=[(choice, 0)]), []) is None


def test_threads_do_not_meet(host, monkeypatch):
    launches, _ = known(host, job(arena=0), some())
    arrays = [[array((3, 4), F4, PLACE * n), array((4,), F4, PLACE * n)] for n in range(1, 5)]
    enable = gc.enable
    monkeypatch.setattr(gc, "enable", lambda: None)  # none of them may look at others' arrays

    def work(structs):
        for _ in range(50):
            called(launches.run, structs)

    threads = [threading.Thread(target=work, args=(x,)) for x in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    enable()
    firsts = [x[-1] for x in host.launched if x[0] == KERNEL]
    assert len(firsts) == 50 * len(arrays)
    assert all(second == first + 16 for first, second, _ in firsts)


# ----- programs -----


class InPython:
    """`Launches` on the stand-in, whose arrays native code cannot read."""

    found = 0

    def __init__(self):
        self.jobs, self.numbers = {}, {}

    def run(self, arrays):
        if any((type(x), str(x)) not in self.numbers for x in numbers_in(arrays)):
            return None
        found = gpu_kernels.form_of(arrays, ())
        if found is None or (job := self.jobs.get(found[0])) is None:
            return None
        InPython.found += 1
        return job.at(found[1])

    def learn(self, arrays, given, job):
        assert gpu_launches.words_of(job) is not None
        self.jobs[gpu_kernels.form_of(arrays, ())[0]] = job
        self.numbers.update({(type(x), str(x)): given for x in numbers_in(arrays)})


def numbers_in(arrays):
    return [x for x in arrays if isinstance(x, bool | int | float)]


@pytest.fixture
def quickly(machine, monkeypatch):
    """A machine where ops that come again are found by what stands for native code."""
    monkeypatch.setattr(gpu_launches, "launches", InPython)
    gpu_kernels.quick.clear()
    monkeypatch.setattr(InPython, "found", 0)
    yield machine
    gpu_kernels.quick.clear()


PROGRAMS = {
    "two": lambda x, y: x + y * x,
    "numbers": lambda x, y: (2.0 * x - 1) / (y + 3.0),
    "one": lambda x, y: df.tanh(df.exp(x)),
    "compared": lambda x, y: df.where(x > y, x, 0.0),
    "product": lambda x, y: (x @ y.T) @ x,
    "sum": lambda x, y: df.sum(x, axis=0) * df.mean(y),
    "turned": lambda x, y: df.tanh(x.T) * y.T + df.reshape(x.T, (3, 5)),
    "parts": lambda x, y: df.split(x, 3, axis=1)[1].T @ df.split(y, [2], axis=1)[0],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_ops_that_come_again_give_the_same_results_and_gradients(name, quickly):
    given = [np.random.default_rng(k).normal(size=(5, 3)).astype(np.float32) for k in range(2)]
    gradient = df.value_and_grad(lambda x, y: df.sum(PROGRAMS[name](x, y)), argnums=(0, 1))
    value, slopes = gradient(*map(df.asarray, given))
    wanted = [bits(x) for x in (value, *slopes)]
    there = [df.asarray(a, device="gpu:1") for a in given]
    for _ in range(3):
        value, slopes = gradient(*there)
        assert [bits(x.numpy()) for x in (value, *slopes)] == wanted
    assert InPython.found > 0
    with df.autocast("bfloat16"):
        low = PROGRAMS[name](*map(df.asarray, given)).astype("float64")
        for _ in range(2):
            found = PROGRAMS[name](*there).astype("float64")
            assert bits(found.numpy()) == bits(low.numpy())


def test_what_is_refused_at_first_is_refused_again(quickly):
    x, y = df.ones((2, 3), device="gpu"), df.ones((3, 2), device="gpu")
    n = df.ones(3, dtype="int32", device="gpu")
    for _ in range(3):
        x + x, x @ y, df.tanh(x), n + 1, x + 1.5
    assert InPython.found > 0
    for call, error in (
        (lambda: x + y, df.errors.ShapeError),
        (lambda: x @ x, df.errors.ShapeError),
        (lambda: x + df.ones((2, 3)), df.errors.DeviceError),
        (lambda: x @ df.ones((3, 2), device="gpu:1"), df.errors.DeviceError),
        (lambda: n + 2**40, df.errors.DTypeError),
    ):
        with pytest.raises(error):
            call()
    assert (n + 1.5).dtype == df.float32
    assert (x + n).dtype == (df.ones(3) + df.ones(3, dtype="int32")).dtype


def test_training_has_the_bits_of_a_machine_without_it(quickly, machine):
    def train():
        df.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to("gpu")
        optimizer = df.optim.Adam(model.parameters(), 0.01)
        x = df.randn(4, 6).to("gpu")
        for _ in range(3):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()
        return [bits(p.numpy()) for p in model.parameters()]

    first, before = train(), InPython.found
    assert train() == first
    assert InPython.found > before > 0

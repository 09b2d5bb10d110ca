"""Convolutions by the library: what it is asked for, the choice of plans, both modes alike."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dualflow as df
from dualflow import nn
from dualflow.errors import DeviceError
from jit.config import configure
from jit.ir.convolution import FILTERS, FORWARD, IMAGES, Convolution
from jit.runtime import cudnn, cudnn_choice, cudnn_trial, gpu_code, trials
from jit.runtime.alone import innermost
from jit.runtime.cudnn import Convolve, Convolving
from jit.runtime.gpu import GpuExecutable
from tests.gpu.test_products import both, random
from tests.modes import compiled_only, graphs_only

pytestmark = graphs_only
F = nn.functional


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path):
    """Choices are made anew in each test."""
    with configure(cache=tmp_path):
        yield


def gradients(function):
    """The gradients for both arguments of the sum of squares."""

    def both_of(x, w):
        with df.GradientTape() as tape:
            tape.watch([x, w])
            y = (function(x, w) ** 2).sum()
        return df.concat([df.reshape(g, (-1,)) for g in tape.gradient(y, [x, w])])

    return both_of


# Functions with the shapes of their arguments.
FORMS = {
    "plain": (lambda x, w: F.conv2d(x, w, padding=1), [(2, 3, 8, 8), (4, 3, 3, 3)]),
    "one": (lambda x, w: F.conv2d(x, w), [(2, 3, 6, 5), (4, 3, 1, 1)]),
    "steps": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), [(2, 3, 9, 8), (4, 3, 3, 3)]),
    "gaps": (lambda x, w: F.conv2d(x, w, dilation=(2, 1)), [(2, 3, 9, 8), (4, 3, 3, 3)]),
    "groups": (lambda x, w: F.conv2d(x, w, groups=2), [(2, 4, 6, 5), (6, 2, 3, 3)]),
    "a line": (lambda x, w: F.conv1d(x, w, padding=1), [(2, 3, 9), (4, 3, 3)]),
    "a solid": (lambda x, w: F.conv3d(x, w, padding=1), [(1, 2, 4, 5, 3), (3, 2, 3, 3, 3)]),
    "transposed": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
        [(2, 3, 5, 4), (3, 4, 3, 3)],
    ),
    "turned": (
        lambda x, w: F.conv2d(df.permute_dims(x, (0, 3, 1, 2)), w, padding=1),
        [(2, 6, 5, 3), (4, 3, 3, 3)],
    ),
    "computed": (lambda x, w: F.conv2d(df.tanh(x), w + 1.0), [(2, 3, 6, 5), (4, 3, 3, 3)]),
}


def kinds(convolver, since=0):
    """What the library has computed."""
    return {call.kind for call in convolver.calls[since:]}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name, convolver):
    function, shapes = FORMS[name]
    arrays = [random(*shape) for shape in shapes]
    found, _, _ = both(lambda x, w: df.tanh(function(x, w) / 4.0), *arrays)
    exact = function(*[df.asarray(x.astype(np.float64)) for x in arrays]).numpy()
    np.testing.assert_allclose(found, np.tanh(exact / 4), rtol=1e-4, atol=1e-5)
    assert kinds(convolver) == {IMAGES if name == "transposed" else FORWARD}


@pytest.mark.parametrize("name", FORMS)
def test_gradients(name, convolver):
    function, shapes = FORMS[name]
    arrays = [random(*shape) for shape in shapes]
    found, _, _ = both(gradients(function), *arrays)
    exact = gradients(function)(*[df.asarray(x.astype(np.float64)) for x in arrays]).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)
    assert FILTERS in kinds(convolver) or name in ("one", "transposed")
    assert (IMAGES in kinds(convolver)) is (name in ("steps", "transposed"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves(dtype, convolver):
    x, w = random(2, 3, 8, 8, dtype=dtype), random(4, 3, 3, 3, dtype=dtype)
    found, *_ = both(lambda x, w: F.conv2d(x, w, padding=1), x, w)
    exact = F.conv2d(*[df.asarray(a.astype(np.float64)) for a in (x, w)], padding=1).numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(np.float64), exact, rtol=2e-2, atol=2e-2)
    assert {cudnn.ROUNDING in names(call) for call in convolver.calls} == {False}


def names(call):
    """The notes on plans that were not wanted."""
    return {note.name for note in call.unwanted}


def test_float64_is_for_kernels(convolver):
    both(F.conv2d, *[random(*shape).astype(np.float64) for shape in ((2, 3, 6, 6), (4, 3, 3, 3))])
    assert convolver.calls == []


def test_one_precision_for_both_modes(convolver):
    """Strict float32 leaves out plans that round what they multiply."""
    x, w = (df.asarray(random(*shape), device="gpu") for shape in ((2, 3, 6, 6), (4, 3, 3, 3)))
    f = df.function(lambda x, w: df.tanh(F.conv2d(x, w)))
    for _ in range(3):
        for precision in ("float32", "tf32"):
            before = len(convolver.calls)
            with df.set_matmul_precision(precision):
                found = f(x, w).numpy()
                assert found.tobytes() == df.tanh(F.conv2d(x, w)).numpy().tobytes()
            asked = [names(call) for call in convolver.calls[before:]]
            assert {cudnn.ROUNDING in each for each in asked} == {precision == "float32"}
            assert all(set(cudnn.UNWANTED) <= each for each in asked)


def test_sizes_that_vary(convolver):
    f = df.function(lambda x, w: df.tanh(F.conv2d(x, w, padding=1)))
    w = df.asarray(random(4, 3, 3, 3), device="gpu")
    for count in (3, 4, 5, 7, 1, 4):
        x, before = df.asarray(random(count, 3, 6, 6), device="gpu"), len(convolver.calls)
        found = f(x, w).numpy()
        assert found.tobytes() == df.tanh(F.conv2d(x, w, padding=1)).numpy().tobytes()
        assert len(convolver.calls) > before
    assert len(f.graphs) <= 3


@pytest.mark.parametrize("fails", [False, True])
def test_a_loop(fails, convolver):
    """Launches that run again and again; kernels of our own have memory on their way there, too."""
    convolver.wrong = {0, 1, 2} if fails else set()

    def f(x, w):
        for _ in range(12):
            x = df.tanh(F.conv2d(x, w, padding=1)) + 0.25
        return x

    arrays = random(2, 4, 6, 6), random(4, 4, 3, 3) / 4
    if fails:
        with pytest.warns(RuntimeWarning, match="no plan that computes rightly"):
            both(f, *arrays)
    else:
        both(f, *arrays)


@compiled_only
def test_it_is_captured_with_what_stands_around_it(convolver, machine):
    function, shapes = FORMS["steps"]
    arrays = [random(*shape) for shape in shapes]
    _, f, given = both(gradients(lambda x, w: df.tanh(function(x, w))), *arrays)
    machine.counts.clear()
    f(*given)
    assert machine.counts["replayed"] == 1
    assert machine.counts["convolved"] == machine.counts["launched"] == 0


@compiled_only
def test_no_kernel_is_made_in_vain(convolver):
    """Those in the place of what the library computes are made when they are timed."""
    with configure(timing=False):
        function, shapes = FORMS["plain"]
        _, f, _ = both(function, *[random(*shape) for shape in shapes])
    path = next(iter(f.entries.values())).parts[0]
    assert path.executable.code.found == {"for the GPU": 2}  # of copies, there and back


@compiled_only
@pytest.mark.parametrize("timing", [True, False])
def test_kernels_that_will_be_timed_are_made_side_by_side(timing, convolver, monkeypatch):
    asked = []
    monkeypatch.setattr(gpu_code, "prepare", lambda kernels, target: asked.extend(kernels))
    with configure(timing=timing):
        f = df.function(FORMS["plain"][0])
        f(*[df.asarray(random(*shape), device="gpu") for shape in FORMS["plain"][1]])
        f(*[df.asarray(random(*shape), device="gpu") for shape in FORMS["plain"][1]])
    path = next(iter(f.entries.values())).parts[0]
    (launch,) = [x for x in path.executable.code._run.program.launches() if x.convolved]
    own = {each.kernel for each in innermost(launch)}
    assert own <= set(asked) if timing else own.isdisjoint(asked)


# ----- the choice -----


PLAIN = FORMS["plain"][0]


def given_plain():
    return random(2, 3, 8, 8), random(4, 3, 3, 3)


def time_as(monkeypatch, *seconds, own=9.0):
    """Lets plans take these times, by their numbers, and kernels of our own another one."""
    timed = []

    def seconds_of(trial, job, way):
        timed.append(way.number)
        return seconds[way.number]

    monkeypatch.setattr(trials.Trial, "seconds", seconds_of)
    monkeypatch.setattr(GpuExecutable, "_seconds", lambda run, program: own)
    return timed


@pytest.mark.parametrize(
    ("seconds", "wanted"), [((3, 2, 1), 2), ((1, 2, 3), 0), ((1, 0.99, 3), 0), ((9, 1, 9), 1)]
)
def test_the_fastest_is_taken_once_and_for_all(seconds, wanted, convolver, monkeypatch):
    timed = time_as(monkeypatch, *seconds)
    both(PLAIN, *given_plain())
    convolver.built.clear()
    cudnn_choice.forget()  # as in another process
    monkeypatch.delattr(trials.Trial, "_run")  # nothing is tried again
    before = len(convolver.calls)
    both(PLAIN, *given_plain())
    assert {call.plan for call in convolver.calls[before:]} == {wanted}
    assert convolver.built == [wanted]
    assert timed == [0, 1, 2]


@pytest.mark.parametrize(("own", "taken"), [(1.5, False), (2.5, True)])
def test_kernels_of_our_own_are_a_candidate(own, taken, convolver, monkeypatch):
    time_as(monkeypatch, 2, 3, 4, own=own)
    for _ in range(2):
        before = len(convolver.calls)
        found, *_ = both(PLAIN, *given_plain())
        cudnn_choice.forget()
    assert (len(convolver.calls) > before) is taken
    assert found.shape == (2, 4, 8, 8)


def test_kernels_of_our_own_are_timed_on_the_device(convolver, monkeypatch):
    """They run, from copies to the sums, on memory that is theirs."""
    seconds, programs = GpuExecutable._seconds, []

    def of(run, program):
        programs.append(program)
        assert seconds(run, program) > 0
        return 9e9

    monkeypatch.setattr(GpuExecutable, "_seconds", of)
    both(gradients(FORMS["groups"][0]), *[random(*shape) for shape in FORMS["groups"][1]])
    assert len(programs) == 3  # forward, and one for each gradient
    assert all(len(program.inputs) == 2 for program in programs)


def test_timing_is_of_graphs_on_the_device(convolver, machine, monkeypatch):
    monkeypatch.setattr(GpuExecutable, "_seconds", lambda run, program: 9e9)
    given = [df.asarray(x, device="gpu") for x in given_plain()]
    PLAIN(*given)
    assert machine.counts["captured"] == machine.counts["replayed"] / 2 == 3


def test_without_timing_the_first_is_taken(convolver, monkeypatch):
    timed = time_as(monkeypatch, 3, 2, 1)
    with configure(timing=False):
        both(PLAIN, *given_plain())
    assert ({call.plan for call in convolver.calls}, timed) == ({0}, [])


@pytest.mark.parametrize(("wrong", "taken"), [({0}, 1), ({0, 1}, 2)])
def test_what_computes_wrongly_is_not_taken(wrong, taken, convolver, monkeypatch):
    time_as(monkeypatch, 1, 2, 3)
    convolver.wrong = wrong
    both(PLAIN, *given_plain())
    assert convolver.calls[-1].plan == taken


@pytest.mark.parametrize("trouble", [{"wrong": {0, 1, 2}}, {"fails": True}, {"proposed": 0}])
def test_kernels_compute_what_the_library_cannot(trouble, convolver):
    """A warning says so, once."""
    vars(convolver).update(trouble)
    x, w = given_plain()
    with pytest.warns(RuntimeWarning, match=r"cuDNN (has no plan|refuses).*\[2, 8, 8, 3\]"):
        found, *_ = both(lambda x, w: df.tanh(PLAIN(x, w)), x, w)
    exact = PLAIN(*[df.asarray(a.astype(np.float64)) for a in (x, w)]).numpy()
    np.testing.assert_allclose(found, np.tanh(exact), rtol=1e-4, atol=1e-5)
    convolver.fails, tried = False, len(convolver.calls)
    both(PLAIN, x, w)
    assert len(convolver.calls) == tried


def test_no_room_for_a_trial(convolver, monkeypatch):
    def full(job, workspace):
        raise cudnn_choice.OutOfMemoryError("no room", "room", "free some")

    monkeypatch.setattr(cudnn_choice, "Trial", full)
    both(PLAIN, *given_plain())
    assert convolver.calls == []


def test_without_the_library(small):
    found, *_ = both(PLAIN, *given_plain())
    assert found.shape == (2, 4, 8, 8)


@compiled_only
def test_a_plan_from_the_disk_serves_both_ways(convolver, monkeypatch):
    """It was made where the library computes; code for others is made when it is needed."""
    with configure(check=False, timing=False):
        wanted, _, given = both(PLAIN, *given_plain())
        cudnn_choice.forget()  # as in another process
        convolver.wrong = {0, 1, 2}
        monkeypatch.setattr(cudnn_choice, "disk_cache", lambda: None)
        with pytest.warns(RuntimeWarning, match="cuDNN"):
            found = df.function(PLAIN)(*given)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_an_error_is_told_at_its_line(convolver):
    f = df.function(lambda x, w: df.tanh(F.conv2d(x, w)))
    x, w = (df.asarray(a, device="gpu") for a in given_plain())
    for _ in range(2):
        f(x, w)
    convolver.fails = True
    path = next(iter(f.entries.values())).parts[0]
    y = df.asarray(random(2, 3, 8, 8), device="gpu")
    with pytest.raises(DeviceError, match=r"conv[\s\S]*EXECUTION_FAILED[\s\S]*test_convolutions"):
        path.executable([y.raw, w.raw])


# ----- trials -----


@st.composite
def jobs(draw):
    """Convolutions of all kinds, in numbers."""
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    filters, stride, dilation, low = each(1, 3), each(1, 3), each(1, 2), each(0, 2)
    reach = [(r - 1) * d + 1 for r, d in zip(filters, dilation)]
    images = [max(1, r - p) + draw(st.integers(0, 5)) for r, p in zip(reach, low)]
    high = each(0, 2)
    rows = zip(images, reach, stride, low, high)
    results = [(n + p + q - r) // s + 1 for n, r, s, p, q in rows]
    batch, channels, wide = (draw(st.integers(1, 3)) for _ in range(3))
    shapes = (
        (batch, *images, channels * groups),
        (wide * groups, *filters, channels),
        (batch, *results, wide * groups),
    )
    kind = draw(st.sampled_from([FORWARD, IMAGES, FILTERS]))
    dtype = draw(st.sampled_from(["float32", "float16", "bfloat16"]))
    c = Convolution(kind, *shapes, stride, dilation, low)
    return Convolving(c, dtype, "tf32" if dtype == "float32" else "")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs())
def test_trials_find_what_is_right(convolver, job):
    """Of every kind, dtype and way to lie; and what leaves out a channel is found out."""
    if job.convolution.high is None:
        return
    convolve = Convolve(job, 0)
    plan, *_ = convolve.plans()
    trial = cudnn_trial.Trial(job, plan.workspace)
    convolver.wrong = set()
    assert trial.is_right(convolve, plan)
    convolver.wrong = {plan.number}
    some = any(size for _, _, size, _ in trial.samples())
    last = job.convolution.operands[0][-1] == 1  # or else it may be that others are looked at
    assert not (trial.is_right(convolve, plan) and some and last)


def test_sums_of_many_products_have_few_that_count(convolver):
    c = Convolution(FILTERS, (32, 56, 56, 8), (8, 3, 3, 8), (32, 56, 56, 8), (1, 1), (1, 1), (1, 1))
    trial = cudnn_trial.Trial(Convolving(c, "float32", "tf32"), 0)
    counts = [count for *_, count in trial.samples()]
    assert 20 < np.mean(counts) < 150

"""Decorating changes what a call costs, and nothing else that Python can see of a callable."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle

import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from tests.modes import bits, graphs_only
from tests.tracing.both import vector


@df.function
def scaled(x, k: int = 2, *rest, flag=True):
    """Some multiple."""
    return x * k


def plain(x):
    return x + 1.0


called = df.function(plain, max_paths=7)


class Net(df.nn.Module):
    """A net with every kind of method."""

    factor = 3.0

    def __init__(self):
        self.inner = df.nn.Linear(2, 2)

    @df.function
    def forward(self, x):
        """What it computes."""
        return self.inner(x) * self.factor

    @df.function
    @classmethod
    def outer_class(cls, x):
        return x * cls.factor

    @classmethod
    @df.function
    def inner_class(cls, x):
        return x * cls.factor

    @df.function
    @staticmethod
    def outer_static(x):
        return x * 2.0

    @staticmethod
    @df.function
    def inner_static(x):
        return x * 2.0

    @df.function
    @property
    def outer_property(self):
        return self.inner.weight * 2.0

    @property
    @df.function
    def inner_property(self):
        return self.inner.weight * 2.0


class Child(Net):
    factor = 5.0

    def forward(self, x):
        return super().forward(x) + 1.0


class Scaler:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        """Scales."""
        return x * self.k


class Plain(df.nn.Module):
    def __init__(self):
        self.inner = df.nn.Linear(2, 2)

    def forward(self, x):
        return self.inner(x) if self.training else x


# ----- names -----


def test_r45_names_signature_and_attributes():
    python = scaled.python
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__defaults__", "__code__"):
        assert getattr(scaled, name) == getattr(python, name), name
    assert inspect.signature(scaled) == inspect.signature(python)
    assert inspect.unwrap(scaled) is python
    assert inspect.getsource(scaled) == inspect.getsource(python)
    with pytest.raises(AttributeError, match="'function' object has no attribute 'parameters'"):
        scaled.parameters  # noqa: B018


@graphs_only
def test_r45_a_method_is_a_method():
    net = Net()
    assert inspect.ismethod(net.forward)
    assert (net.forward.__self__, net.forward.__func__) == (net, Net.forward)
    assert str(inspect.signature(net.forward)) == "(x)"
    assert (net.forward.__name__, net.forward.__doc__) == ("forward", "What it computes.")
    assert net.forward == net.forward
    assert net.forward != Net().forward
    net.forward(df.ones((1, 2)))
    assert net.forward.mode == "compiled"
    assert net.forward.explain().calls == Net.forward.calls


@graphs_only
@pytest.mark.parametrize("cls", [Net, Child])
def test_r45_every_kind_of_method(cls):
    net, x = cls(), df.ones((1, 2))
    for _ in range(3):
        assert bits(net.outer_class(x)) == bits(cls.inner_class(x)) == bits(x * cls.factor)
        assert bits(net.outer_static(x)) == bits(cls.inner_static(x)) == bits(x * 2.0)
        assert bits(net.outer_property) == bits(net.inner_property) == bits(net.inner.weight * 2.0)
        wanted = net.inner(x) * cls.factor + (1.0 if cls is Child else 0.0)
        assert bits(net(x)) == bits(wanted)
    for name in ("outer_class", "inner_class", "outer_static", "inner_static"):
        assert getattr(net, name).explain().from_graph > 0


@graphs_only
def test_r28_functions_lambdas_partials_objects_and_bound_methods():
    net = Plain()
    x = df.ones((1, 2))
    for python in (
        plain,
        lambda x: x * 3.0,
        functools.partial(scaled.python, k=3),
        Scaler(2.0),
        net,
        net.forward,
        functools.partial(net.forward),
    ):
        f = df.function(python, strict=True)
        for _ in range(3):
            assert bits(f(x)) == bits(python(x))
        assert f.from_graph == 2


@graphs_only
def test_r28_whole_steps_and_whole_epochs():
    def program():
        df.random.seed(1)
        net = df.nn.Linear(3, 1)
        optimiser = df.optim.SGD(net.parameters(), lr=0.1)
        xs, ys = df.random.normal((4, 8, 3)), df.random.normal((4, 8, 1))

        def step(x, y):
            with df.GradientTape() as tape:
                loss = ((net(x) - y) ** 2).mean()
            grads = tape.gradient(loss, net.trainable_variables)
            optimiser.apply_gradients(zip(grads, net.trainable_variables, strict=True))
            return loss

        def epoch():
            return [step(xs[k], ys[k]) for k in range(4)]

        return net, epoch

    (eager_net, eager), (net, python) = program(), program()
    epoch = df.function(python, strict=True)
    for _ in range(3):
        assert [bits(x) for x in epoch()] == [bits(x) for x in eager()]
        assert bits(net.weight) == bits(eager_net.weight)
    assert epoch.from_graph == 2


def test_what_is_no_callable_is_refused():
    with pytest.raises(TypeError, match=r"df\.function: 3 cannot be called"):
        df.function(3)


# ----- objects -----


@graphs_only
def test_r45_a_decorated_module_is_that_module():
    net = Plain()
    names = list(net.state_dict())
    f = df.function(net, strict=True)
    assert isinstance(f, Plain)
    assert isinstance(f, df.nn.Module)
    assert list(f.state_dict()) == names == ["inner.weight", "inner.bias"]
    assert [p is q for p, q in zip(f.parameters(), net.parameters(), strict=True)] == [True] * 2
    x = df.ones((1, 2))
    for _ in range(3):
        assert bits(f(x)) == bits(net.inner(x))
    assert f.from_graph == 2
    f.eval()
    assert not net.training
    assert f(x).tolist() == x.tolist()
    f.training = True
    assert net.training
    assert bits(f(x)) == bits(net.inner(x))


def test_r45_a_decorated_submodule_keeps_its_names():
    class Outer(df.nn.Module):
        def __init__(self, wrap):
            self.first = wrap(df.nn.Linear(2, 3))
            self.rest = [wrap(df.nn.Linear(3, 2))]

        def forward(self, x):
            return self.rest[0](df.tanh(self.first(x)))

    nets = [Outer(lambda m: m), Outer(df.function)]
    names = [[name for name, _ in net.named_parameters()] for net in nets]
    assert names[0] == names[1] == ["first.weight", "first.bias", "rest.0.weight", "rest.0.bias"]
    nets[1].load_state_dict(nets[0].state_dict())
    x = df.ones((1, 2))
    for _ in range(3):
        assert bits(nets[1](x)) == bits(nets[0](x))
    assert [type(m).__name__ for m in nets[0].modules()] == ["Outer", "Linear", "Linear"]
    assert [m.__class__.__name__ for m in nets[1].modules()] == ["Outer", "Linear", "Linear"]
    nets[1].eval()
    assert not nets[1].first.training


# ----- copies -----


def test_r45_pickles_of_definitions_are_names():
    assert pickle.loads(pickle.dumps(scaled)) is scaled
    assert pickle.loads(pickle.dumps(Net.forward)) is Net.forward
    assert len(pickle.dumps(scaled)) < 100


def test_r45_pickles_of_calls_hold_function_and_options():
    again = pickle.loads(pickle.dumps(called))
    assert again is not called
    assert (again.python, again.options) == (plain, called.options)
    assert again(vector(1)).tolist() == [2.0]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(df.function(lambda x: x))


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_r45_modules_and_their_methods(twin):
    net, x = Net(), df.ones((1, 2))
    wanted = net(x)
    other = twin(net)
    method = twin(net.forward)
    decorated = twin(df.function(Plain()))
    assert other.state_dict().keys() == net.state_dict().keys()
    assert method.__self__ is not net
    net.inner.weight.zero_()
    assert bits(other(x)) == bits(method(x)) == bits(wanted)
    assert isinstance(decorated, Plain)
    assert list(decorated.state_dict()) == ["inner.weight", "inner.bias"]


def test_r45_deepcopy_of_a_function_is_that_function():
    assert copy.deepcopy(scaled) is scaled
    assert copy.copy(scaled) is scaled
    scaler = df.function(Scaler(2.0))
    other = copy.deepcopy(scaler)
    other.k = 3.0
    assert (scaler(vector(1)).tolist(), other(vector(1)).tolist()) == ([2.0], [3.0])
    assert (scaler.k, scaler.python.k) == (2.0, 2.0)


# ----- bodies that run after the call -----


@graphs_only
def test_r45_coroutines_and_generators_run_as_undecorated():
    """The call itself computes nothing; what the body awaits or yields is Python's business."""

    async def slow(x):
        await asyncio.sleep(0)
        return x * 2.0

    def each(x):
        yield x
        yield x * 2.0

    async def both(x):
        yield x * 2.0

    async def collect(f):
        return [y.tolist() async for y in f(vector(1))]

    f, g, h = df.function(slow), df.function(each), df.function(both)
    assert asyncio.iscoroutinefunction(f)
    for k in range(3):
        for run, function, wanted in (
            (lambda: asyncio.run(f(vector(1))).tolist(), f, [2.0]),
            (lambda: [y.tolist() for y in g(vector(1))], g, [[1.0], [2.0]]),
            (lambda: asyncio.run(collect(h)), h, [[2.0]]),
        ):
            if k == 0:
                with pytest.warns(FunctionWarning, match="decorate the functions that it calls"):
                    assert run() == wanted
            else:
                assert run() == wanted
            assert function.mode.startswith("segments (it returns a")


@graphs_only
def test_r28_generators_inside_are_compiled():
    def parts(x):
        for k in range(3):
            yield x * float(k)

    f = df.function(lambda x: sum(parts(x)), strict=True)
    for _ in range(3):
        assert f(vector(1)).tolist() == [3.0]
    assert f.from_graph == 2

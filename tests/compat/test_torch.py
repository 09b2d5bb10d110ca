"""`dualflow.compat.torch` makes every call of an introductory PyTorch program, with its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dualflow as df
import dualflow.compat.torch as torch
from dualflow.compat.torch.utils.data import DataLoader, TensorDataset

BATCH, INPUTS, HIDDEN, OUTPUTS = 16, 30, 12, 3


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(BATCH, INPUTS), torch.randn(BATCH, OUTPUTS)


def train(model, optimizer, batches):
    losses = []
    for x, y in batches:
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_autograd_by_hand(data):
    x, y = data
    first = torch.randn(INPUTS, HIDDEN, requires_grad=True)
    second = torch.randn(HIDDEN, OUTPUTS, requires_grad=True)
    losses = []
    for _ in range(30):
        loss = (x.mm(first).clamp(min=0).mm(second) - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            for w in (first, second):
                w -= 1e-5 * w.grad
                w.grad.zero_()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def sequential():
    return torch.nn.Sequential(
        torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, OUTPUTS)
    )


def test_sequential_with_updates_by_hand(data):
    x, y = data
    model, losses = sequential(), []
    for _ in range(20):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 1e-2 * param.grad
        model.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_adam(data):
    model = sequential()
    losses = train(model, torch.optim.Adam(model.parameters(), lr=1e-2), [data] * 20)
    assert losses[-1] < 0.8 * losses[0]


class Clamped(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super(Clamped, self).__init__()  # noqa: UP008 - as PyTorch programs of its time write it
        self.left = torch.nn.Linear(inputs, outputs)
        self.right = torch.nn.Linear(inputs, outputs)

    def forward(self, x):
        return (self.left(x) + self.right(x)).clamp(min=0)


def test_modules_in_modules_and_sgd(data):
    model = torch.nn.Sequential(Clamped(INPUTS, HIDDEN), Clamped(HIDDEN, OUTPUTS))
    assert len(list(model.parameters())) == 8
    losses = train(model, torch.optim.SGD(model.parameters(), lr=1e-2), [data] * 20)
    assert losses[-1] < losses[0]


def test_data_loader(data):
    x, y = data
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    assert [x_batch.shape for x_batch, _ in loader] == [(8, INPUTS)] * 2
    model = sequential()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = [sum(train(model, optimizer, loader)) for _ in range(10)]
    assert losses[-1] < losses[0]


def test_mixed_precision(data):
    x, y = data
    model, scaler = sequential(), torch.amp.GradScaler("cuda", init_scale=8.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with torch.autocast("cpu"):
        assert model(x).dtype == torch.bfloat16
    with torch.autocast(device_type="cuda", dtype=torch.float16, enabled=True):
        loss = torch.nn.functional.mse_loss(model(x), y)
    assert loss.dtype == torch.float32
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 8.0
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def test_values_are_dualflows_own():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    assert isinstance(w, df.Variable)
    assert isinstance(torch.zeros(2), torch.Tensor)
    assert torch.Tensor is df.Tensor
    assert torch.float is torch.float32 is df.float32
    assert torch.long is df.int64


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: torch.sum(x, dim=1, keepdim=True), X.sum(1, keepdims=True)),
        (lambda x: torch.mean(x, 0), X.mean(0)),
        (lambda x: torch.std(x), X.std(ddof=1)),
        (lambda x: torch.var(x, dim=0), X.var(0, ddof=1)),
        (lambda x: torch.max(x), X.max()),
        (lambda x: torch.max(x, 1)[0], X.max(1)),
        (lambda x: torch.min(x, dim=0)[1], X.argmin(0)),
        (lambda x: torch.argmax(x, dim=1), X.argmax(1)),
        (lambda x: torch.cat((x, x), 1), np.concatenate((X, X), 1)),
        (lambda x: torch.stack([x, x], dim=2), np.stack((X, X), 2)),
        (lambda x: torch.unsqueeze(x, 1), X[:, None]),
        (lambda x: torch.squeeze(torch.unsqueeze(x, 0)), X),
        (lambda x: torch.squeeze(x, 0), X),
        (lambda x: torch.transpose(x, 0, 1), X.T),
        (lambda x: torch.permute(x, (1, 0)), X.T),
        (lambda x: torch.flatten(x), X.ravel()),
        (lambda x: torch.flatten(torch.stack([x, x]), 1), np.stack((X, X)).reshape(2, -1)),
        (lambda x: torch.reshape(x, (3, -1)), X.reshape(3, 2)),
        (lambda x: torch.mm(x, torch.ones(3, 4)), X @ np.ones((3, 4))),
        (lambda x: torch.matmul(x, torch.full((3,), 2.0)), X @ np.full(3, 2)),
        (lambda x: torch.clamp(x, min=1, max=2), X.clip(1, 2)),
        (lambda x: torch.relu(x - 2), np.maximum(X - 2, 0)),
        (lambda x: torch.softmax(x, dim=1).sum(), 2.0),
        (lambda x: torch.nn.functional.softmax(x, dim=0).sum(), 3.0),
        (lambda x: torch.where(x > 2, x, torch.zeros_like(x)), np.where(X > 2, X, 0)),
        (lambda x: torch.mul(x, x), X * X),
        (lambda x: torch.arange(1, 7, 2), np.arange(1, 7, 2)),
        (lambda x: torch.eye(2), np.eye(2)),
        (lambda x: torch.zeros((2, 3)) + torch.ones(2, 3), np.ones((2, 3))),
        (lambda x: torch.from_numpy(X) + torch.as_tensor([1.0]), X + 1),
    ],
)
def test_functions(call, expected):
    np.testing.assert_allclose(call(torch.tensor(X)).numpy(), expected, rtol=1e-6)


def test_random_numbers():
    torch.manual_seed(3)
    first = torch.rand(2, 3)
    assert first.shape == (2, 3)
    assert torch.randn((4,)).shape == (4,)
    drawn = torch.randint(10, (50,)).numpy()
    assert 0 <= drawn.min() <= drawn.max() < 10
    drawn = torch.randint(5, 7, (50,)).numpy()
    assert set(drawn.tolist()) == {5, 6}
    assert sorted(torch.randperm(5).tolist()) == [0, 1, 2, 3, 4]
    torch.manual_seed(3)
    assert torch.rand(2, 3).tolist() == first.tolist()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: torch.unfold, "compat.torch has no unfold"),
        (lambda: torch.movedim, r"df\.moveaxis\(x, source, destination\)"),
        (lambda: torch.take_along_axis, r"df\.take_along_axis may be"),
        (lambda: torch.nn.TransformerXL, r"compat\.torch\.nn has no TransformerXL"),
        (lambda: torch.optim.LBFGSX, r"compat\.torch\.optim has no"),
    ],
)
def test_what_is_missing_says_what_to_use(ask, words):
    with pytest.raises(AttributeError, match=words):
        ask()


A = np.array([[3.0, 1.0, 2.0, 5.0, 4.0], [0.5, 9.0, -1.0, 7.0, 6.0]], np.float32)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: torch.stack(torch.chunk(x[:, :4], 2, dim=1)), [A[:, :2], A[:, 2:4]]),
        (lambda x: torch.split(x, 2, dim=1)[2], A[:, 4:]),
        (lambda x: torch.split(x, [1, 4], dim=1)[1], A[:, 1:]),
        (lambda x: torch.topk(x, 2)[0], [[5.0, 4.0], [9.0, 7.0]]),
        (lambda x: torch.topk(x, 1, dim=0, largest=False)[1], [[1, 0, 1, 0, 0]]),
        (lambda x: torch.sort(x, descending=True)[0], np.sort(A)[:, ::-1]),
        (lambda x: torch.sort(x, dim=0)[1], np.argsort(A, axis=0)),
        (lambda x: torch.gather(x, 1, torch.tensor([[0, 3], [1, 1]])), [[3.0, 5.0], [9.0, 9.0]]),
        (lambda x: torch.index_select(x, 1, torch.tensor([4, 0])), A[:, [4, 0]]),
        (lambda x: torch.cumsum(x, dim=1), A.cumsum(1)),
        (lambda x: torch.flip(x, [0, 1]), A[::-1, ::-1]),
        (lambda x: torch.norm(x, dim=1), np.linalg.norm(A, axis=1)),
        (lambda x: torch.outer(x[0], x[1]) + torch.dot(x[0], x[1]), np.outer(*A) + A[0] @ A[1]),
        (lambda x: torch.mv(x, x[0]), A @ A[0]),
        (lambda x: torch.eq(x, 9.0) | torch.lt(x, torch.full_like(x, 2)), (A == 9) | (A < 2)),
    ],
)
def test_more_functions(call, expected):
    x = torch.tensor(A)
    np.testing.assert_allclose(call(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(torch.compile(call)(x), call(x))


def test_numbers_like_others():
    x = torch.zeros(200, 5)
    assert torch.allclose(torch.randn_like(x).mean(), x[0, 0], atol=0.3)
    assert not torch.allclose(torch.rand_like(x), x)
    assert torch.numel(x) == 1000


def test_a_checkpoint_and_a_schedule(tmp_path):
    model = sequential()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    x, y = torch.randn(BATCH, INPUTS), torch.randn(BATCH, OUTPUTS)
    train(model, optimizer, [(x, y)])
    schedule.step()
    assert float(optimizer.param_groups[0]["lr"]) == 0.05
    path = tmp_path / "run.pt"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(state, path)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    wanted = train(model, optimizer, [(x, y)] * 3)
    found = torch.load(path, map_location="cpu")
    other = sequential()
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    again = torch.optim.Adam(other.parameters())
    again.load_state_dict(found["optimizer"])
    assert (found["epoch"], train(other, again, [(x, y)] * 3)) == (3, wanted)


def test_files_of_pytorch_are_read():
    path = Path(__file__).parents[1] / "io/torch/new.pt"
    assert torch.load(path).keys() == df.io.load(path).keys()

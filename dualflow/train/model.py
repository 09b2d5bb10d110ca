"""Model: Keras's `compile` and `fit` for any module, in both modes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from dualflow.core import tree
from dualflow.core.context import no_grad
from dualflow.core.files import FilePath
from dualflow.io import load, save
from dualflow.nn.counting import Summary
from dualflow.nn.module import Module
from dualflow.ops.arrange import concat
from dualflow.optim import Optimizer
from dualflow.train.batches import (
    batches_of,
    dtype_of,
    given,
    held_out,
    in_steps,
    length_of,
    pair_of,
    some,
    weights_of,
)
from dualflow.train.history import History
from dualflow.train.inputs import arguments_of, numbers_of, specs_of
from dualflow.train.moments import Callback, Callbacks, Logs
from dualflow.train.progress import progress, tell
from dualflow.train.state import TrainingState


class Model(Module):
    """A module that trains itself: `compile`, then `fit`, `evaluate`, `predict`.

    Either it wraps a module, or a subclass defines `forward`. `train_step`, `test_step` and
    `predict_step` may be overridden; `compile(mode=...)` says how they run.

    Args:
        module: The net; None in a subclass that is the net.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([[0.0], [1.0], [2.0], [3.0]])
        >>> model = df.train.Model(df.nn.Linear(1, 1))
        >>> model.compile(df.optim.SGD(model.parameters(), lr=0.1), "mse", mode="eager")
        >>> history = model.fit(x, 2 * x + 1, epochs=60, shuffle=False)
        >>> [round(x, 1) for x in model.predict([[10.0]]).flatten().tolist()]
        [21.0]
    """

    module: Module | None = None
    _state: TrainingState | None = None

    def __init__(self, module: Module | None = None) -> None:
        if module is not None:
            self.module = module

    @property
    def net(self) -> Module:
        """What is trained: the wrapped module, or the model itself."""
        return self if self.module is None else self.module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the wrapped module computes."""
        if self.module is None:
            return super().forward(*args, **kwargs)
        return self.module(*args, **kwargs)

    def applied_to(self, x: Any) -> Any:
        """What the net computes of inputs, as steps call it.

        Args:
            x: An input. Several in a tuple or a dict are the arguments of a net that takes as many,
                or arguments of these names; any other net gets them as one argument.
        """
        if not isinstance(x, tuple | list | Mapping):
            return self(x)
        args, kwargs = arguments_of(self.net.forward, x)
        return self(*args, **kwargs)

    # ----- how it trains -----

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        mode: str = "compiled",
        autocast: str | None = None,
        run_eagerly: bool = False,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: An optimiser, such as `df.optim.Adam(1e-3)`; a class of one, or its name in
                small letters, such as "adam".
            loss: A function or module `(y_pred, y_true) -> number`, or a word: "mse", "mae",
                "cross_entropy" (logits and labels), "nll", "binary_cross_entropy_with_logits", and
                Keras's "sparse_categorical_crossentropy", "categorical_crossentropy" and
                "binary_crossentropy" (probabilities), and more. Of a net with several outputs each
                may have its own, in a dict or a list as the outputs are: they are added up.
            metrics: One or some: metrics, functions `(y_pred, y_true) -> number`, or words such as
                "accuracy"; for several outputs a dict of them, or a list of lists.
            loss_weights: Factors of the losses of several outputs, in a dict or a list.
            mode: "compiled", "eager", or "auto": the one that turns out to be faster here.
            autocast: "bfloat16" or "float16": mixed precision, as `df.autocast` has it. float16
                comes with a `GradScaler`.
            run_eagerly: Keras's word for `mode="eager"`.

        Raises:
            ValueError: A word that is not known, or `loss_weights` of outputs without a loss.
            DTypeError: `autocast` is another dtype.
        """
        parts = TrainingState.made(self.net, optimizer, loss, metrics, loss_weights)
        parts.compute_in(autocast)
        mode = "eager" if run_eagerly else mode
        parts.run(mode, self.train_step, self.test_step, self.predict_step)
        self._state = parts

    @property
    def training_state(self) -> TrainingState:
        """Optimiser, loss, metrics and history.

        Raises:
            RuntimeError: `compile` was not called.
        """
        if self._state is None:
            raise RuntimeError('first say how to train: model.compile("adam", "mse")')
        return self._state

    @property
    def optimizer(self) -> Optimizer:
        """The optimiser."""
        return self.training_state.optimizer

    @property
    def history(self) -> History:
        """The logs of the last `fit`."""
        return self.training_state.history

    @property
    def stop_training(self) -> bool:
        """Whether training ends after this batch; callbacks set it."""
        return self.training_state.stop

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self.training_state.stop = value

    # ----- steps -----

    def train_step(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """One step of learning on a batch.

        Args:
            x: Inputs.
            y: Targets.
            sample_weight: The third part of a batch, where batches have one.

        Returns:
            The loss, or a dict with "loss" in it; logs tell its mean.
        """
        state = self.training_state
        with state.autocast():
            y_pred = self.applied_to(x)
            loss = state.loss_of(y_pred, y, sample_weight)
        state.learn(loss)
        state.track(y_pred, y)
        return loss

    def test_step(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Loss and metrics of a batch, without learning."""
        state = self.training_state
        with no_grad(), state.autocast():
            y_pred = self.applied_to(x)
            loss = state.loss_of(y_pred, y, sample_weight)
            state.track(y_pred, y)
        return loss

    def predict_step(self, x: Any) -> Any:
        """Predictions of a batch."""
        precision = nullcontext() if self._state is None else self._state.autocast()
        with no_grad(), precision:
            return self.applied_to(x)

    # ----- loops -----

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Iterable[Callback] | Callback = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        *,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Trains.

        Args:
            x: Inputs, a dataset of pairs, or a `DataLoader` (any iterable) of batches of pairs. A
                batch may have weights of its examples as a third part. Floats of NumPy arrays
                become what the net computes in. Several inputs are arrays in a list, a tuple or a
                dict; see `applied_to`.
            y: Targets, where `x` are inputs; several in the same way.
            batch_size: Examples in a batch, where no loader is given.
            epochs: The number of the epoch to end before.
            verbose: 0: nothing is shown. 1: a bar. 2: a line for each epoch. "auto": a bar in a
                terminal or a notebook.
            callbacks: See `df.train.callbacks`; one, or some.
            validation_split: The share of the examples, from the end, that validates.
            validation_data: `(x, y)` or `(x, y, sample_weight)`, a dataset or a loader that
                validates after each epoch.
            shuffle: A new order for each epoch, where no loader is given.
            class_weight: What the loss of examples of a class is multiplied by, by its label.
            sample_weight: What the loss of each example is multiplied by, of shape (n,). The mean
                over a batch is divided by the number of its examples, as in Keras.
            initial_epoch: Where to begin counting.
            steps_per_epoch: Batches in an epoch; the next one goes on where it ends.
            validation_steps: Batches in a validation, from the first one on.
            validation_batch_size: Examples in a batch of validation; `batch_size` by default.
            validation_freq: Validate after every so many epochs.

        Returns:
            The logs of all epochs.
        """
        state = self.training_state
        weight = weights_of(y, sample_weight, class_weight)
        dtype = dtype_of(self.net)
        if validation_split:
            (x, y, weight), validation_data = held_out(x, y, weight, validation_split, dtype)
        loader = batches_of(x, y, batch_size, dtype, shuffle=shuffle, weight=weight)
        validation = None
        if validation_data is not None:
            validation = pair_of(validation_data, validation_batch_size or batch_size, dtype)
        state.begin(loader, initial_epoch)
        batches = in_steps(loader, steps_per_epoch)
        params = {"epochs": epochs, "steps": length_of(batches)}
        listed = [callbacks] if isinstance(callbacks, Callback) else callbacks
        told = Callbacks([*listed, *progress(verbose)], self, params)
        told.tell("on_train_begin")
        try:
            for epoch in range(state.first_epoch, epochs):
                asked = validation if (epoch + 1) % validation_freq == 0 else None
                self._epoch(epoch, batches, in_steps(asked, validation_steps), told)
                if state.stop:
                    break
        finally:
            self.train()
            told.tell("on_train_end")
        return state.history

    def _epoch(self, epoch: int, batches: Any, validation: Any, told: Callbacks) -> None:
        state = self.training_state
        told.tell("on_epoch_begin", epoch)
        self.train()
        left = batches  # of an epoch that is taken up again, perhaps none
        if not state.resumed:
            state.reset()
            left = some(batches)
        state.resumed = False
        for number, batch in enumerate(left):
            if number == 0:
                state.seen = specs_of(batch[0])
            told.batch_begin(number)
            state.steps["train"](*batch)
            told.batch_end(number, state.logs)
            if state.stop:
                break
        state.times = getattr(state.loader, "times", None)
        logs = state.logs()
        if validation is not None:
            told.tell("on_test_begin")
            found = self._tested(validation)
            told.tell("on_test_end", found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        state.history.add(epoch, logs)
        told.tell("on_epoch_end", epoch, logs)

    def _tested(self, loader: Any) -> Logs:
        """Loss and metrics over all batches."""
        state = self.training_state
        state.reset()
        was = self.training
        self.eval()
        try:
            for batch in some(loader):
                state.steps["test"](*batch)
            return state.logs()
        finally:
            self.train(was)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        *,
        steps: int | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics, without learning.

        Args:
            x: Inputs, a dataset of pairs, or a loader of batches of pairs.
            y: Targets, where `x` are inputs.
            batch_size: Examples in a batch, where no loader is given.
            verbose: 1 or 2: a line with the result. "auto" is 0: nothing.
            sample_weight: What the loss of each example is multiplied by.
            steps: How many batches; all by default.
            return_dict: Give names, too.

        Returns:
            The loss; with metrics, a list of the loss and each of them; or a dict.
        """
        weight = weights_of(y, sample_weight, None)
        batches = batches_of(x, y, batch_size, dtype_of(self.net), shuffle=False, weight=weight)
        logs = self._tested(in_steps(batches, steps))
        tell(logs, verbose)
        return given(logs, names=return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int = 32,
        verbose: str | int = "auto",
        *,
        steps: int | None = None,
    ) -> Any:
        """Predictions for inputs.

        Args:
            x: Inputs, a dataset, or a loader of batches; of pairs the first is taken.
            batch_size: Examples in a batch, where no loader is given.
            verbose: Nothing is shown; for programs that ask for it.
            steps: How many batches; all by default.

        Returns:
            Tensors with a row for each example, in the structure of what the net gives.
        """
        del verbose
        batches = batches_of(x, None, batch_size, dtype_of(self.net), shuffle=False)
        found = some(in_steps(batches, steps))
        inputs = (batch[0] if isinstance(batch, tuple | list) else batch for batch in found)
        parts = list(self._predicted(inputs))
        return tree.tree_map(lambda *rows: concat(list(rows)), *parts)

    def _predicted(self, inputs: Iterable[Any]) -> Iterator[Any]:
        """Predictions for each batch, in evaluation."""
        step = self.predict_step if self._state is None else self._state.steps["predict"]
        was = self.training
        self.eval()
        try:
            yield from map(step, inputs)
        finally:
            self.train(was)

    # ----- one batch -----

    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Any:
        """One step of learning; gives loss and metrics of this batch, as `evaluate` does."""
        return self._on_batch("train", (x, y, sample_weight), return_dict=return_dict)

    def test_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch, as `evaluate` gives them."""
        return self._on_batch("test", (x, y, sample_weight), return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Predictions of one batch."""
        (y,) = self._predicted([numbers_of(x, dtype_of(self.net))])
        return y

    def _on_batch(self, kind: str, batch: tuple[Any, ...], *, return_dict: bool) -> Any:
        state = self.training_state
        state.reset()
        self.train(kind == "train")
        dtype = dtype_of(self.net)
        state.steps[kind](*[numbers_of(part, dtype) for part in batch if part is not None])
        self.train()
        return given(state.logs(), names=return_dict)

    # ----- people and files -----

    def summary(self, *inputs: Any) -> Summary:
        """Results, parameters, FLOPs and bytes of every module inside; see `df.nn.Module.summary`.

        Args:
            *inputs: As there. Without any they are like those that `fit` was given last.
        """
        seen = None if self._state is None else self._state.seen
        if not inputs and seen is not None:
            return super().summary(*(seen if isinstance(seen, tuple) else (seen,)))
        return super().summary(*inputs)

    def save_weights(self, path: FilePath) -> None:
        """Writes the weights of the net, under its own names, as safetensors or npz."""
        save(path, self.net.state_dict())

    def load_weights(self, path: FilePath) -> None:
        """Reads the weights of the net from any file that `df.io.load` reads."""
        self.net.load_state_dict(load(path))

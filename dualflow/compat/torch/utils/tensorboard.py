"""`torch.utils.tensorboard`: PyTorch's `SummaryWriter` over `df.io.EventWriter`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dualflow as df
from dualflow.compat.translate import hints


class SummaryWriter(df.io.EventWriter):
    """Writes what TensorBoard shows into a folder, with PyTorch's words.

    Args:
        log_dir: The folder of this run.
        **_: Other words of PyTorch's change nothing.

    Example:
        >>> import dualflow as df
        >>> import tempfile
        >>> board = df.compat.torch.utils.tensorboard
        >>> with tempfile.TemporaryDirectory() as folder, board.SummaryWriter(folder) as writer:
        ...     writer.add_scalar("loss", 0.5, 1)
    """

    def __init__(self, log_dir: Any = "runs", **_: Any) -> None:
        super().__init__(log_dir)

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int = 0, **_: Any) -> None:
        """A number."""
        self.scalar(tag, scalar_value, global_step)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int = 0, **_: Any
    ) -> None:
        """Several numbers, under one heading."""
        named = {f"{main_tag}/{tag}": value for tag, value in tag_scalar_dict.items()}
        self.scalars(named, global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int = 0, **_: Any) -> None:
        """How values are spread."""
        self.histogram(tag, values, global_step)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int = 0,
        *,
        dataformats: str = "CHW",
        **_: Any,
    ) -> None:
        """A picture, whose dimensions `dataformats` names."""
        image = df.asarray(img_tensor)
        if dataformats == "HWC":
            image = df.permute_dims(image, (2, 0, 1))
        self.image(tag, image, global_step)

    def add_figure(self, tag: str, figure: Any, global_step: int = 0, **_: Any) -> None:
        """A figure of matplotlib."""
        self.figure(tag, figure, global_step)

    def add_text(self, tag: str, text_string: str, global_step: int = 0, **_: Any) -> None:
        """A text."""
        self.text(tag, text_string, global_step)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any], **_: Any
    ) -> None:
        """What a run was made with, and what came of it."""
        self.hyperparameters(hparam_dict, metric_dict)

    def add_graph(self, model: Any, input_to_model: Any = None, **_: Any) -> None:
        """The graph of a module, for an input or a tuple of them."""
        several = isinstance(input_to_model, tuple)
        args = input_to_model if several else (input_to_model,)
        specs = [df.TensorSpec(x.shape, x.dtype) for x in map(df.asarray, args)]
        traced: Any = df.function(model)
        self.graph(traced.concrete(*specs).graph)


__getattr__ = hints("torch.utils.tensorboard")

"""`torch.amp`: mixed precision, with the device that PyTorch asks for in front."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.translate import hints


class autocast(df.autocast):  # noqa: N801 - PyTorch's name
    """`df.autocast`; without a dtype bfloat16 on the CPU, and float16 elsewhere, as in PyTorch.

    Args:
        device_type: "cpu" or "cuda"; it chooses the dtype and nothing else.
        dtype: bfloat16 or float16.
        enabled: False: everything inside is computed as without autocast.
        cache_enabled: Has no effect: a compiled step converts each parameter once.
    """

    def __init__(
        self,
        device_type: str,
        dtype: Any = None,
        enabled: bool = True,  # noqa: FBT001, FBT002 - as in PyTorch
        cache_enabled: bool | None = None,  # noqa: FBT001
    ) -> None:
        usual = "bfloat16" if str(device_type).startswith("cpu") else "float16"
        super().__init__(dtype or usual, enabled=enabled)


def GradScaler(device: str = "cuda", *args: Any, **settings: Any) -> df.optim.GradScaler:  # noqa: N802
    """`df.optim.GradScaler`; the device has no effect.

    Args:
        device: Of the parameters.
        *args: As for `df.optim.GradScaler`.
        **settings: As for `df.optim.GradScaler`.
    """
    return df.optim.GradScaler(*args, **settings)


__getattr__ = hints("torch.amp")

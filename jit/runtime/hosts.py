"""Hosts: further devices of the processor, "cpu:1" and so on, and moves between all devices.

Such a device has memory and threads of its own, as a GPU has: what lies there is an array of its
class, and code for it shares large launches with its threads only. The first, "cpu", is NumPy's.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from jit.errors import DeviceError
from jit.runtime.cuda import cupy
from jit.runtime.forks import pools

if TYPE_CHECKING:
    from jit.runtime.threads import Pool

MOST = 16  # devices of the processor


class HostArray(np.ndarray):  # type: ignore[type-arg]
    """An array of a further device of the processor; views of it lie there too."""

    place = "cpu"


class Anywhere(np.ndarray):  # type: ignore[type-arg]
    """An array that lies nowhere in particular, such as a Python number's: any device takes it."""


@cache
def class_of(place: str) -> type[np.ndarray[Any, Any]]:
    """The class of the arrays of a device of the processor."""
    if number_of(place) == 0:
        return np.ndarray
    return type("HostArray", (HostArray,), {"place": place})


def lying_on(array: Any, place: str) -> Any:
    """The memory of a plain array as an array of a device of the processor."""
    return np.asarray(array).view(class_of(place))


def bare(array: Any) -> Any:
    """An array of any device of the processor as a plain one; others as they are."""
    return array.view(np.ndarray) if isinstance(array, HostArray | Anywhere) else array


def anywhere(array: Any) -> Any:
    """An array of the processor as one that any device takes."""
    return bare(array).view(Anywhere) if isinstance(array, np.ndarray) else array


def place_of(array: Any) -> str | None:
    """The device that an array lies on; None if that does not matter."""
    if array.__class__ is np.ndarray:
        return "cpu"
    if isinstance(array, HostArray):
        return array.place
    if isinstance(array, Anywhere):
        return None
    return "cpu" if isinstance(array, np.ndarray | np.generic) else f"gpu:{array.data.device_id}"


def is_host(place: str) -> bool:
    """Whether a device is one of the processor's."""
    return place.startswith("cpu")


def number_of(place: str) -> int:
    """Which one of its kind a device is."""
    return int(place.partition(":")[2] or 0)


def copied(array: Any, place: str) -> Any:
    """A copy of an array on another device."""
    there = place_of(array)
    if is_host(place):
        here = array if there is None or is_host(there) else cupy().asnumpy(array)
        own = np.array(here, order="C") if here is array else here
        return own if place == "cpu" else lying_on(own, place)
    with cupy().cuda.Device(number_of(place)):
        return cupy().asarray(bare(array))


def refuse(arrays: Any) -> None:
    """Refuses arrays that lie elsewhere than on the first device of the processor.

    Raises:
        DeviceError: There is one.
    """
    for number, array in enumerate(arrays):
        if isinstance(array, HostArray):
            raise DeviceError(
                f"argument {number} lies on {array.place}, the code is for cpu",
                "arrays where the code was compiled for",
                'x.to("cpu")',
            )


_pools: dict[int, Pool] = {}


def pool_of(number: int) -> Pool:
    """The threads of a device of the processor."""
    from jit.runtime.threads import Pool, num_threads, pool  # loaded when something is compiled

    if number == 0:
        return pool()
    with pools:
        if number not in _pools:
            _pools[number] = Pool(num_threads())
        return _pools[number]

"""Disk cache: compiled code that outlives the process.

A folder with one file for each key. An entry says what it is and carries a hash of what it holds;
whatever does not verify counts as missing and is replaced by the next `put`. Files appear whole, by
renaming, so processes need no locks. Trouble with the disk is never the caller's trouble: at worst
nothing is kept, and JIT_DEBUG=1 says why.

    entry = MAGIC  key (32 bytes)  sha256 of the payload (32 bytes)  payload
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from jit.config import config

MAGIC = b"dualflow kernel 1\n"  # the number counts layouts of entries
HEADER = len(MAGIC) + 64
LIMIT_BYTES = 512 << 20  # the least recently used entries go when there are more
LIMIT_ENTRIES = 20_000
KEPT = 0.75  # of a limit, once it is exceeded
SAME_USE_SECONDS = 24 * 3600.0  # an entry's time of use is not written more often
LEFT_OVER_SECONDS = 3600.0  # no write takes that long: its process is gone
SWEEPS = "00"  # keys are hashes: one put in 256 looks after the whole folder

ENTRY = re.compile(r"[0-9a-f]{64}")
TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
COMPILATIONS = 1  # the level of JIT_DEBUG that says why nothing is kept


class DiskCache:
    """Bytes by key in a folder; `get` and `put` never raise because of the disk.

    A key is the sha256, in hexadecimal, of all that the bytes depend on.

    Attributes:
        folder: Made when first written to, for this user alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: set[str] = set()

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, or None."""
        try:
            with self._opened() as folder:
                return _payload(key, _read(key, folder))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell(error)
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`, if that can be done."""
        entry = b"".join((MAGIC, bytes.fromhex(key), hashlib.sha256(data).digest(), data))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                _write(key, entry, folder)
                if key.startswith(SWEEPS):
                    _sweep(folder)
        except OSError as error:
            self._tell(error)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder as a descriptor: what was checked is what is used."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _trusted(folder, "folder")
            yield folder
        finally:
            os.close(folder)

    def _tell(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if config().debug >= COMPILATIONS and reason not in self._told:
            self._told.add(reason)
            sys.stderr.write(f"# cache {self.folder}: {reason}\n")


def disk_cache() -> DiskCache | None:
    """The cache that the settings ask for here and now."""
    return cache_at(config().cache)


@cache
def cache_at(place: Path | str) -> DiskCache | None:
    """The cache of a setting of JIT_CACHE: a folder, `on` or `off`."""
    if os.name != "posix" or place == "off":  # entries are trusted by owner and permissions
        return None
    folder = default_folder() if place == "on" else Path(place)
    with suppress(OSError):  # the current folder may be gone
        return None if folder is None else DiskCache(folder.absolute())
    return None


def default_folder() -> Path | None:
    """Where the system wants a user's caches to be; None for a user without a home."""
    import platformdirs  # takes 4 ms

    try:
        folder = Path(platformdirs.user_cache_dir("dualflow")) / "kernels"
    except RuntimeError:  # no home; earlier releases answer with a path that begins with "~"
        return None
    return folder if folder.is_absolute() else None


def _trusted(descriptor: int, what: str) -> os.stat_result:
    """The status of a file or folder that only this user can have written.

    Raises:
        PermissionError: It is another user's, or others may write to it.
    """
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise PermissionError(f"a {what} of another user is not used")
    if status.st_mode & OTHERS_WRITE:
        raise PermissionError(f"a {what} that others may write to is not used")
    return status


def _read(name: str, folder: int) -> bytes:
    """The bytes of a file of ours, which counts as used now; nothing for what is not a file."""
    # O_NONBLOCK: a pipe with this name must not make us wait.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        status = _trusted(descriptor, "file")
        if not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT_BYTES:
            return b""
        if time.time() - status.st_mtime > SAME_USE_SECONDS:
            with suppress(OSError):  # on a disk that is read only
                os.utime(descriptor)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _payload(key: str, entry: bytes) -> bytes | None:
    """What an entry holds, if it is whole and the entry of this key."""
    payload = entry[HEADER:]
    expected = MAGIC + bytes.fromhex(key) + hashlib.sha256(payload).digest()
    return payload if entry[:HEADER] == expected else None


def _write(name: str, data: bytes, folder: int) -> None:
    """Makes a file that is there whole or not at all."""
    temporary = f".{name}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # an interrupt leaves nothing behind either
        _remove(temporary, folder)
        raise


def _remove(name: str, folder: int) -> None:
    with suppress(OSError):  # another process may have been faster
        os.unlink(name, dir_fd=folder)


def _sweep(folder: int) -> None:
    """Removes what dead writers left, and the least recently used entries beyond the limits."""
    now = time.time()
    for name, status in _files(folder, TEMPORARY):
        if now - status.st_mtime > LEFT_OVER_SECONDS:
            _remove(name, folder)
    entries = sorted(_files(folder, ENTRY), key=lambda entry: entry[1].st_mtime)
    count, size = len(entries), sum(status.st_size for _, status in entries)
    if count <= LIMIT_ENTRIES and size <= LIMIT_BYTES:
        return
    for name, status in entries:
        if count <= KEPT * LIMIT_ENTRIES and size <= KEPT * LIMIT_BYTES:
            return
        _remove(name, folder)
        count, size = count - 1, size - status.st_size


def _files(folder: int, pattern: re.Pattern[str]) -> list[tuple[str, os.stat_result]]:
    """Name and status of the files with such names: others in the folder are not ours."""
    found: list[tuple[str, os.stat_result]] = []
    for name in os.listdir(folder):
        if pattern.fullmatch(name):
            with suppress(OSError):
                found.append((name, os.stat(name, dir_fd=folder, follow_symlinks=False)))
    return found

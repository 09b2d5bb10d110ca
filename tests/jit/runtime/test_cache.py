"""The disk cache: what was put comes back whole or not at all, whatever happens to the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jit.config import configure
from jit.runtime import cache as module
from jit.runtime.cache import DiskCache, cache_at, default_folder, disk_cache

ROOT = Path(__file__).parents[3]
DATA = b"machine code"


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


KEY = key_of("a kernel")


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "deep" / "kernels")


@pytest.fixture
def told(capsys):
    """What the cache said on standard error at JIT_DEBUG=1."""
    with configure(debug=1):
        yield lambda: capsys.readouterr().err


def entry(cache: DiskCache, key: str = KEY) -> Path:
    return cache.folder / key


# ----- what is kept -----


def test_what_is_put_comes_back_in_this_and_in_the_next_process(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA
    assert DiskCache(cache.folder).get(KEY) == DATA
    assert cache.get(key_of("another")) is None
    cache.put(KEY, b"")
    assert cache.get(KEY) == b""


def test_folder_and_files_are_for_the_user_alone(cache):
    cache.put(KEY, DATA)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert entry(cache).stat().st_mode & 0o777 == 0o600
    assert os.listdir(cache.folder) == [KEY]


# ----- entries that are not to be trusted -----


def test_every_flipped_byte_is_noticed(cache):
    cache.put(KEY, DATA)
    good = entry(cache).read_bytes()
    for at in range(len(good)):
        for flip in (0x01, 0xFF):
            entry(cache).write_bytes(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
            assert cache.get(KEY) is None, at
    entry(cache).write_bytes(good)
    assert cache.get(KEY) == DATA


def test_every_truncation_is_noticed_and_more_than_there_was_too(cache):
    cache.put(KEY, DATA)
    good = entry(cache).read_bytes()
    for size in range(len(good)):
        entry(cache).write_bytes(good[:size])
        assert cache.get(KEY) is None, size
    entry(cache).write_bytes(good + b"\0")
    assert cache.get(KEY) is None


def test_an_entry_of_another_key_is_noticed(cache):
    other = key_of("another")
    cache.put(other, DATA)
    entry(cache, other).rename(entry(cache))
    assert cache.get(KEY) is None


def spoil(path: Path) -> None:
    path.write_bytes(b"garbage")


def lend(path: Path) -> None:
    path.chmod(0o620)


def give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(path, 12345, -1)


def link(path: Path) -> None:
    target = path.rename(path.with_name("elsewhere"))
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("harm", [spoil, lend, give_away, link, pipe])
def test_a_bad_entry_is_ignored_and_replaced(cache, harm):
    cache.put(KEY, DATA)
    harm(entry(cache))
    assert cache.get(KEY) is None
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"
    assert entry(cache).stat().st_mode & 0o777 == 0o600
    assert not entry(cache).is_symlink()


def test_a_folder_at_the_place_of_an_entry_is_left_alone(cache, told):
    cache.put(key_of("another"), DATA)
    entry(cache).mkdir(mode=0o700)
    assert cache.get(KEY) is None
    cache.put(KEY, DATA)
    assert cache.get(KEY) is None
    assert sorted(os.listdir(cache.folder)) == sorted([KEY, key_of("another")])
    assert "Is a directory" in told()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(cache, mode, told):
    cache.put(KEY, DATA)
    cache.folder.chmod(mode)
    assert cache.get(KEY) is None
    cache.put(key_of("another"), DATA)
    assert os.listdir(cache.folder) == [KEY]
    said = f"# cache {cache.folder}: a folder that others may write to is not used\n"
    assert told() == said, "once, whatever is asked for"


def test_files_of_another_user_are_not_used(cache, monkeypatch, told):
    cache.put(KEY, DATA)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.get(KEY) is None
    cache.put(key_of("another"), DATA)
    assert os.listdir(cache.folder) == [KEY]
    assert "a folder of another user is not used" in told()


# ----- disks that do not work -----


def refuse(number: int):
    def call(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("write", errno.ENOSPC),
        ("write", errno.EIO),
        ("rename", errno.EDQUOT),
        ("open", errno.EROFS),
        ("open", errno.EACCES),
        ("open", errno.EMFILE),
        ("mkdir", errno.EROFS),
    ],
)
def test_a_disk_that_refuses_is_told_of_once_and_leaves_nothing(
    tmp_path, monkeypatch, told, call, number
):
    cache = DiskCache(tmp_path / "kernels")
    if call != "mkdir":
        cache.folder.mkdir(mode=0o700)
    with monkeypatch.context() as broken:
        broken.setattr(os, call, refuse(number))
        cache.put(KEY, DATA)
        cache.put(KEY, DATA)
    assert told() == f"# cache {cache.folder}: {os.strerror(number)}\n"
    assert cache.get(KEY) is None
    assert list(tmp_path.glob("kernels/*")) == []
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA


def test_a_disk_that_fills_up_in_the_middle_of_a_file(cache, monkeypatch):
    write, room = os.write, [5]

    def some(descriptor, data):
        if not (taken := min(len(data), room[0])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= taken
        return write(descriptor, data[:taken])

    monkeypatch.setattr(os, "write", some)
    cache.put(KEY, DATA)
    assert cache.get(KEY) is None
    assert os.listdir(cache.folder) == []
    room[0] = 10_000
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA


def test_files_may_be_written_in_pieces(cache, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:7]))
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA


def test_an_old_entry_on_a_disk_that_is_read_only_is_found(cache, monkeypatch):
    cache.put(KEY, DATA)
    os.utime(entry(cache), (0, 0))
    monkeypatch.setattr(os, "utime", refuse(errno.EROFS))
    assert cache.get(KEY) == DATA


def test_a_file_where_the_folder_should_be(tmp_path, told):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "kernels"):
        cache = DiskCache(folder)
        cache.put(KEY, DATA)
        assert cache.get(KEY) is None
        assert told().startswith(f"# cache {folder}: ")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_trouble_is_silent_unless_asked(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    with configure(debug=0):
        DiskCache(tmp_path / "file").put(KEY, DATA)
    assert capsys.readouterr() == ("", "")


def test_the_folder_may_go_while_the_program_runs(cache):
    cache.put(KEY, DATA)
    entry(cache).unlink()
    cache.folder.rmdir()
    assert cache.get(KEY) is None
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA


def test_an_interrupt_leaves_nothing_behind(cache, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, DATA)
    assert os.listdir(cache.folder) == []


# ----- other processes -----

WRITER = """
import hashlib, sys
from pathlib import Path
from jit.runtime.cache import DiskCache
cache, number = DiskCache(Path(sys.argv[1])), int(sys.argv[2])
for turn in range(60):
    for name in "abcdef":
        data = name.encode() * 50_000
        key = hashlib.sha256(name.encode()).hexdigest()
        cache.put(key, data)
        assert cache.get(key) == data
"""

SLOW_WRITER = """
import os, sys, time
from pathlib import Path
from jit.runtime.cache import DiskCache
write = os.write
def slow(descriptor, data):
    count = write(descriptor, data[:7])
    print("writing", flush=True)
    time.sleep(60)
    return count
os.write = slow
DiskCache(Path(sys.argv[1])).put(sys.argv[2], b"machine code")
"""


def start(script: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_the_same_keys_at_once(cache):
    writers = [start(WRITER, cache.folder, number) for number in range(2)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert sorted(os.listdir(cache.folder)) == sorted(map(key_of, "abcdef"))


def test_a_process_killed_while_it_writes(cache, monkeypatch):
    writer = start(SLOW_WRITER, cache.folder, KEY)
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)
    (left,) = os.listdir(cache.folder)
    assert module.TEMPORARY.fullmatch(left)

    assert cache.get(KEY) is None
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA
    monkeypatch.setattr(module, "SWEEPS", "")
    cache.put(KEY, DATA)
    assert left in os.listdir(cache.folder), "its writer may still be at it"
    old = time.time() - 2 * module.LEFT_OVER_SECONDS
    os.utime(cache.folder / left, (old, old))
    cache.put(KEY, DATA)
    assert os.listdir(cache.folder) == [KEY]


# ----- size -----


def filled(cache: DiskCache, count: int) -> list[str]:
    """Keys of entries of which each was used a day after the one before it."""
    keys = [key_of(str(number)) for number in range(count)]
    for age, key in zip(range(count, 0, -1), keys):
        cache.put(key, bytes(1000))
        used = time.time() - 24 * 3600 * age
        os.utime(entry(cache, key), (used, used))
    return keys


@pytest.mark.parametrize(("limit", "value"), [("LIMIT_BYTES", 10_500), ("LIMIT_ENTRIES", 9)])
def test_the_least_recently_used_entries_go_when_there_are_too_many(
    cache, monkeypatch, limit, value
):
    monkeypatch.setattr(module, "SWEEPS", "no key begins like this")
    keys = filled(cache, 12)
    assert cache.get(keys[0]) is not None  # from now on the oldest is the newest
    (cache.folder / "notes.txt").write_text("not ours")
    monkeypatch.setattr(module, "SWEEPS", "")
    cache.put(keys[11], b"the last")
    assert all(entry(cache, key).exists() for key in keys), "no limit is exceeded"
    monkeypatch.setattr(module, limit, value)
    cache.put(keys[11], b"the last")
    left = [key for key in keys if entry(cache, key).exists()]
    assert 4 <= len(left) <= 8
    assert left == [keys[0], *keys[len(keys) - len(left) + 1 :]]
    assert cache.get(keys[11]) == b"the last"
    assert (cache.folder / "notes.txt").exists()


def test_few_writes_look_at_the_whole_folder(cache, monkeypatch):
    swept = []
    monkeypatch.setattr(module, "_sweep", swept.append)
    for number in range(1024):
        cache.put(key_of(str(number)), b"")
    assert 1 <= len(swept) <= 12


# ----- where -----


def test_the_setting_says_where(tmp_path, monkeypatch):
    with configure(cache="off"):
        assert disk_cache() is None
    with configure(cache=tmp_path):
        assert disk_cache().folder == tmp_path
        assert disk_cache() is disk_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    cache_at.cache_clear()
    with configure(cache="on"):
        assert disk_cache().folder == tmp_path / "caches" / "dualflow" / "kernels"
    cache_at.cache_clear()


def test_a_relative_folder_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache_at.cache_clear()
    assert cache_at(Path("kernels")).folder == tmp_path / "kernels"
    cache_at.cache_clear()


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert default_folder() is None
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    assert default_folder() is None
    cache_at.cache_clear()
    assert cache_at("on") is None
    cache_at.cache_clear()


def test_the_tests_never_write_to_the_cache_of_the_user():
    kept = disk_cache()
    assert kept is None or kept.folder != default_folder()

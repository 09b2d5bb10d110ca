"""The JIT_* variables: what they mean, how they are refused, how a `with` scopes them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from jit import config as module
from jit.config import Config, config, configure


def test_defaults():
    settings = Config.from_environment({})
    assert settings == Config(
        debug=0, dump=None, check=False, passes_off=frozenset(), target="cpu", cache="on"
    )


@pytest.mark.parametrize(
    ("name", "text", "setting", "value"),
    [
        ("JIT_DEBUG", "6", "debug", 6),
        ("JIT_DUMP", "some/folder", "dump", Path("some/folder")),
        ("JIT_CHECK", "0", "check", False),
        ("JIT_CHECK", "1", "check", True),
        ("JIT_PASSES_OFF", "fold, cse,", "passes_off", frozenset({"fold", "cse"})),
        ("JIT_TARGET", "interpreter", "target", "interpreter"),
        ("JIT_PRECISION", "tf32", "precision", "tf32"),
        ("JIT_TIMING", "0", "timing", False),
        ("JIT_AUTOTUNE", "1", "autotune", True),
        ("JIT_CACHE", "off", "cache", "off"),
        ("JIT_CACHE", "on", "cache", "on"),
        ("JIT_CACHE", "some/folder", "cache", Path("some/folder")),
    ],
)
def test_each_variable_sets_its_field_only(name, text, setting, value):
    expected = {entry.name: getattr(Config(), entry.name) for entry in fields(Config)}
    expected[setting] = value
    assert Config.from_environment({name: text}) == Config(**expected)


def test_an_empty_variable_says_nothing():
    empty = {entry.metadata["name"]: " " for entry in fields(Config)}
    assert Config.from_environment(empty) == Config()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("JIT_DEBUG", "7", "a level from 0 to 6"),
        ("JIT_DEBUG", "-1", "a level from 0 to 6"),
        ("JIT_DEBUG", "loud", "a level from 0 to 6"),
        ("JIT_CHECK", "yes", "0 or 1"),
        ("JIT_TARGET", "gpu", "cpu or interpreter"),
        ("JIT_PRECISION", "half", "float32 or tf32"),
    ],
)
def test_a_bad_value_names_variable_and_expectation(name, text, expected):
    with pytest.raises(ValueError) as caught:
        Config.from_environment({name: text})
    assert str(caught.value) == f"{name} (={text!r}) must be {expected}"


def test_the_docstring_lists_every_variable():
    for entry in fields(Config):
        assert f"    {entry.metadata['name']}=" in module.__doc__


def test_configure_nests_and_ends_with_the_block():
    before = config()
    with configure(debug=3) as outer:
        with configure(check=True) as inner:
            assert (inner.debug, inner.check) == (3, True)
            assert config() is inner
        assert config() is outer
    assert config() is before


def test_configure_ends_when_the_block_raises():
    before = config()
    with pytest.raises(KeyError), configure(debug=5):
        raise KeyError
    assert config() is before


def test_configure_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="volume"), configure(volume=11):
        pass
    with pytest.raises(ValueError, match=r"debug \(=9\)"), configure(debug=9):
        pass
    with pytest.raises(ValueError, match=r"cache \(='yes'\)"), configure(cache="yes"):
        pass


def test_other_threads_keep_their_own_settings():
    before, seen = config(), []
    with configure(debug=4):
        thread = threading.Thread(target=lambda: seen.append(config()))
        thread.start()
        thread.join()
    assert seen == [before]
    assert seen[0].debug == before.debug != 4


def test_settings_do_not_change_under_their_reader():
    with pytest.raises(FrozenInstanceError):
        config().debug = 1


def test_the_environment_is_read_at_import():
    script = "from jit.config import config; print(config().debug, sorted(config().passes_off))"
    environment = os.environ | {"JIT_DEBUG": "2", "JIT_PASSES_OFF": "cse,algebra"}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(module.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "2 ['algebra', 'cse']"

"""The built distribution: installed away from the checkout, it has all it needs and works."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import dualflow as df
import jit
import sys

f = df.function(lambda x: x * 2 + 1)
x = df.asarray([1.0, 2.0, 3.0])
for call in range(2):
    assert f(x).tolist() == (x * 2 + 1).tolist() == [3.0, 5.0, 7.0], f(x)
assert jit.OWNER == "dualflow"
assert jit.__version__ == df.__version__, (jit.__version__, df.__version__)
print(df.__file__, jit.__file__, df.__version__, sep="\\n")
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; its errors are part of the failure when there is one."""
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """One sdist and one wheel, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_works_away_from_the_checkout(built, kind, tmp_path):
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", *offline]
    run(*install, "--target", target, built[kind], cwd=elsewhere)

    (elsewhere / "program.py").write_text(PROGRAM)
    # -S leaves out the .pth file by which site-packages leads to the checkout.
    paths = os.pathsep.join([str(target), *dependencies()])
    printed = run(sys.executable, "-S", "program.py", cwd=elsewhere, PYTHONPATH=paths)
    dualflow, jit, version = printed.splitlines()
    assert Path(dualflow) == target / "dualflow" / "__init__.py"
    assert Path(jit) == target / "jit" / "__init__.py"
    assert version == metadata(built["wheel"])["Version"]


def dependencies() -> list[str]:
    """The folders in which the environment keeps what dualflow depends on."""
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def test_the_wheel_holds_both_packages_typed_and_nothing_else(built):
    with zipfile.ZipFile(built["wheel"]) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in ("dualflow", "jit")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == sources
    assert {"dualflow/py.typed", "jit/py.typed"} <= inside
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_a_packager_needs(built):
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "tests/conftest.py"} <= names
    assert not {name for name in names if name.startswith((".venv", "bench-results", "dist"))}


def test_the_metadata_say_who_may_use_it(built):
    said = metadata(built["wheel"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert set(said.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    core = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(core) == len(project["dependencies"])

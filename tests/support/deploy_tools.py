"""The outside tools that judge what is in `deploy/`: fetched once, pinned, kept in the cache of the tests.

`python -m tests.support.deploy_tools` fetches what is missing, from the ordinary registries; with `--system` it also
installs the distribution's packages that cannot be had otherwise, which takes root. It never fails: a test that needs a
tool that is missing says so.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.broker import Missing, cache_folder

ROOT: Final = Path(__file__).parents[2]
NPM: Final = Path(__file__).parent / "npm"
SPLUNK_LOCK: Final = ROOT / "requirements-splunk.lock"

HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.22.0"
FETCH_SECONDS_MAX: Final = 1_800
"""Building helm on a busy machine takes minutes; nothing else comes near."""

DEBIAN: Final = "bookworm"
"""The release that the Containerfile's own base image is made of."""

SYSTEM_PACKAGES: Final = {"buildah": "buildah", "chromium": "chromium", "debootstrap": "debootstrap"}
"""Commands that only the distribution has, with their packages."""


class Tool(NamedTuple):
    """A tool: where its fetched folder is, the file in it that shows that it is whole, and how it is fetched."""

    folder: str
    file: str
    fetch: Callable[[Path], None]


def _run(command: Sequence[str | Path], *, cwd: Path | None = None, **environ: str) -> None:
    """Run a command that fetches.

    Raises:
        Missing: it cannot be started, fails or does not end.
    """
    try:
        ran = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=FETCH_SECONDS_MAX,
        )
    except OSError as error:
        raise Missing(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{command[0]} did not end within {FETCH_SECONDS_MAX} seconds") from error
    if ran.returncode:
        raise Missing(f"{' '.join(map(str, command))} failed: {ran.stdout[-400:].strip()}")


def _fetch_helm(target: Path) -> None:
    """Build Helm from its module, whose hash the Go module proxy's log holds."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    _run([go, "install", HELM], GOBIN=str(target), GOFLAGS="-buildvcs=false -p=2")


def _fetch_promtool(target: Path) -> None:
    """Take promtool out of the distribution's package, which is not installed: it would start a server."""
    if os.geteuid() == 0:
        # A new machine knows no packages yet; who is not root takes those that are known.
        _run(["apt-get", "--quiet", "update"])
    _run(["apt-get", "download", "prometheus"], cwd=target)
    (package,) = target.glob("*.deb")
    _run(["dpkg-deb", "--extract", package, target])
    package.unlink()


def _fetch_npm(target: Path) -> None:
    """What the lock names, without running any script of a package."""
    for file in ("package.json", "package-lock.json"):
        shutil.copy(NPM / file, target)
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=target)


def _fetch_splunk(target: Path) -> None:
    """An environment for Splunk's validator, which pins older libraries than ours.

    It is made for the running interpreter, in place: its scripts name the path of their interpreter.
    """
    venv.create(target, with_pip=True)
    pip: list[str | Path] = [target / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--requirement", SPLUNK_LOCK])


def _fetch_debian(target: Path) -> None:
    """A base image's file system with Python, from the distribution's packages; making it takes root."""
    if os.geteuid():
        raise Missing("debootstrap takes root")
    root = target / "rootfs"
    packages = "python3,python3-venv,ca-certificates"
    _run([installed("debootstrap"), "--variant=minbase", f"--include={packages}", DEBIAN, root])
    # As the base image that the Containerfile names has it.
    (root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
    for emptied in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / emptied)


def _digest(*sources: Path | str) -> str:
    """A name for what the sources say."""
    texts = [source.read_bytes() if isinstance(source, Path) else source.encode() for source in sources]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]


NPM_FOLDER: Final = f"npm-{_digest(NPM / 'package-lock.json')}"
AXE: Final = "node_modules/axe-core/axe.min.js"
KUSTO: Final = "node_modules/@kusto/language-service-next/package.json"

TOOLS: Final = {
    "axe": Tool(NPM_FOLDER, AXE, _fetch_npm),
    "debian": Tool(f"debian-{DEBIAN}", "rootfs/usr/bin/python3", _fetch_debian),
    "helm": Tool(f"helm-{_digest(HELM)}", "helm", _fetch_helm),
    "promtool": Tool("prometheus", "usr/bin/promtool", _fetch_promtool),
    "kusto": Tool(NPM_FOLDER, KUSTO, _fetch_npm),
    "splunk-appinspect": Tool(f"splunk-{_digest(SPLUNK_LOCK, sys.version)}", "bin/splunk-appinspect", _fetch_splunk),
}  # fmt: skip
"""What is fetched into the cache, by the name that a test asks for."""

NEEDED: Final = {"kusto": "node"}
"""What must be installed beside a fetched tool for it to run."""


def fetched(name: str) -> Path:
    """The file of a fetched tool; it is fetched first where it is missing.

    Raises:
        Missing: it cannot be had.
    """
    tool = TOOLS[name]
    folder = cache_folder() / "tools" / tool.folder
    if needed := NEEDED.get(name):
        installed(needed)
    if not (folder / ".whole").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            # A second test run waits here for the first one's download.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".whole").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                tool.fetch(folder)
                if not (folder / tool.file).exists():
                    raise Missing(f"{name} was fetched and has no {tool.file}")
                (folder / ".whole").touch()
    return folder / tool.file


def installed(name: str) -> Path:
    """A command of the machine.

    Raises:
        Missing: it is not installed.
    """
    # Commands of Python packages stand beside the interpreter; the administrator's folders are not in everybody's path.
    where = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if where is None:
        package = SYSTEM_PACKAGES.get(name, name)
        raise Missing(
            f"{name} is not installed (Debian: apt-get install {package}; `make deploy-tools` as root does it)"
        )
    return Path(where)


def tool(name: str) -> Path:
    """A tool by its name, whichever way it comes.

    Raises:
        Missing: it cannot be had.
    """
    return fetched(name) if name in TOOLS else installed(name)


def _install_system_packages() -> None:
    """The distribution's packages that are missing, where the machine is Debian's and we are root."""
    missing = [package for command, package in SYSTEM_PACKAGES.items() if not shutil.which(command)]
    if missing:
        apt = ["apt-get", "--quiet", "--yes"]
        _run([*apt, "update"])
        _run([*apt, "install", "--no-install-recommends", *missing], DEBIAN_FRONTEND="noninteractive")


def main() -> None:
    """Fetch everything, and say of each tool how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--system", action="store_true", help="also install packages of the distribution")
    arguments = parser.parse_args()
    steps: dict[str, Callable[[], object]] = {name: partial(fetched, name) for name in TOOLS if name != "debian"}
    if arguments.system:
        steps["debian"] = partial(fetched, "debian")
        steps = {"packages of the distribution": _install_system_packages} | steps
    steps |= {name: partial(installed, name) for name in SYSTEM_PACKAGES}
    for name, step in steps.items():
        begun = time.monotonic()
        try:
            step()
        except Missing as error:
            print(f"MISSING {name}: {error}", flush=True)
        else:
            print(f"ready   {name}, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()

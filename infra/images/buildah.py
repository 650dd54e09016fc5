"""Buildah: builds images and runs commands in them, without a daemon and without an OCI runtime."""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from typing import Any

from forecasting.errors import ServiceError

_NUM_LINES = 20


@dataclass(frozen=True)
class Buildah:
    """Buildah with a store of images.

    Attributes:
        storage: Folder of the store; None for Buildah's own, which Podman shares.
    """

    storage: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a subcommand."""
        # Isolation by chroot needs neither an OCI runtime nor a network of its own.
        command = ["env", "BUILDAH_ISOLATION=chroot", "buildah"]
        if self.storage is not None:
            command += ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        return [*command, *arguments]

    def __call__(self, *arguments: str, log: Path | None = None) -> str:
        """Run a subcommand.

        Args:
            arguments: The subcommand and its arguments.
            log: File that gets its output; None returns the output instead.

        Returns:
            The standard output, without the last line break; an empty text if it went to the log.

        Raises:
            ServiceError: It failed; the message has the end of its output.
        """
        with log.open("wb") if log else nullcontext(PIPE) as output:
            errors = STDOUT if log else PIPE
            done = run(self.command(*arguments), stdout=output, stderr=errors, check=False)
        said = log.read_bytes() if log else done.stderr
        if done.returncode:
            end = "\n".join(said.decode(errors="replace").splitlines()[-_NUM_LINES:])
            raise ServiceError(f"`buildah {shlex.join(arguments)}` failed with exit code {done.returncode}:\n{end}")
        return (done.stdout or b"").decode().removesuffix("\n")

    def size_of(self, image: str) -> str | None:
        """Return the size of an image with its tag, such as `484 MB`; None if the store has no such image."""
        stored = json.loads(self("images", "--json"))
        return next((each["size"] for each in stored if f"localhost/{image}" in (each.get("names") or ())), None)

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what Buildah reports about an image."""
        return dict(json.loads(self("inspect", "--type", "image", image)))

    @contextmanager
    def container(self, image: str) -> Iterator["Container"]:
        """Make a container of an image, and remove it at the end."""
        name = self("from", image)
        try:
            yield Container(self, name)
        finally:
            self("rm", name)


@dataclass(frozen=True)
class Container:
    """A container: a root file system of its own, with the user and the variables of its image."""

    buildah: Buildah
    name: str

    def arguments(
        self, *command: str, volumes: Sequence[str] = (), variables: dict[str, str] | None = None
    ) -> list[str]:
        """Return the arguments of Buildah that run a command in it.

        Args:
            command: The command.
            volumes: Paths of this machine, paths in the container and options, as in `--volume`.
            variables: Variables of the environment, beside those of the image.

        Returns:
            The subcommand of Buildah and its arguments.
        """
        given = [option for volume in volumes for option in ("--volume", volume)]
        given += [option for name, value in (variables or {}).items() for option in ("--env", f"{name}={value}")]
        return ["run", *given, self.name, "--", *command]

    def run(self, *command: str, volumes: Sequence[str] = (), variables: dict[str, str] | None = None) -> str:
        """Run a command in it and return its output; the arguments are those of `arguments`."""
        return self.buildah(*self.arguments(*command, volumes=volumes, variables=variables))

"""Commands with mounts of their own: other files in the place of some, small disks."""

import functools
import subprocess

import pytest

AS_ROOT = ("unshare", "--mount")
AS_USER = ("unshare", "--user", "--map-root-user", "--mount")


@functools.cache
def _unshare() -> tuple[str, ...] | None:
    """Return a command that gives this user a mount namespace; None where that is forbidden."""
    for command in (AS_ROOT, AS_USER):
        try:
            done = subprocess.run(
                [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
            )
        except FileNotFoundError:
            return None
        if done.returncode == 0:
            return command
    return None


def in_namespace(*mounts: str) -> list[str]:
    """A command that mounts, unseen by others, then runs the command that follows it.

    The process is that of the command. Skips the test where mount namespaces are forbidden.
    """
    command = _unshare()
    if command is None:
        pytest.skip("neither root nor a user may make a mount namespace here (unshare --mount)")
    return [*command, "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]

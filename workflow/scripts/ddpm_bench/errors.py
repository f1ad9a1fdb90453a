"""Errors for users, exit statuses, and the signals on which a training saves and stops."""

import signal

# Signals on which a training saves and stops. SLURM can be asked to send SIGUSR1 before the wall
# time; SIGHUP comes when a connection is lost.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

EXIT_USER_ERROR = 2
EXIT_SAVED_AND_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: "try again later"


class UserError(Exception):
    """A problem that the user can solve; the message has its place, its cause and a remedy."""


class DivergedError(UserError):
    """A training whose values are no longer finite, as a result of its keys.

    reason: the message without the place and the files that are kept.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

"""Errors for users, exit statuses, and the signals on which a training saves and stops."""

import signal

# On these a training saves and leaves. SIGUSR1 is what SLURM can be asked to send before the wall
# time, SIGHUP comes when a connection is lost.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

EXIT_USER_ERROR = 2
EXIT_SAVED_AND_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: "try again later"


class UserError(Exception):
    """A problem that the user can mend: says what was wrong, where, and what to do."""


class DivergedError(UserError):
    """A training that came to values that are not finite: a result of its keys.

    reason: the message without where and what is kept.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

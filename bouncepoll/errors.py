"""The exceptions bouncepoll raises on purpose.

::

    BouncepollError
    ├── ConfigurationError    the configuration is wrong: exit status 2, nothing was done
    │   └── FolderMissing         a polled folder does not exist; the others can be read
    ├── UsageError            the command line, or a request, is wrong: exit status 2, nothing was done
    ├── TransientError        may work later: the work in hand is given up, nothing is lost, the next run repeats it
    │   ├── SourceUnavailable     a mailbox cannot be reached, or refused us
    │   ├── StoreUnavailable      the database is locked, full or gone
    │   │   └── StoreRefused          the database is well, and refused what was to be stored
    │   ├── LeaseLost             another node polls this mailbox now
    │   └── DeliveryDeferred      a mail could not be handed over now
    └── PermanentError        will not work however often it is tried
        ├── MessageUnreadable     one message cannot be processed: it goes to quarantine, the batch goes on
        └── DeliveryFailed        a mail will never be accepted

Every message says what was found and what to do next. None of them ever holds a password or a token.
"""


class BouncepollError(Exception):
    """The root of all errors raised on purpose."""


class ConfigurationError(BouncepollError):
    """The configuration is wrong. ``faults`` has one line a fault: file, key, what was found, what is allowed."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class FolderMissing(ConfigurationError):
    """A folder of a mailbox that is to be polled does not exist; its session goes on with the others."""


class UsageError(BouncepollError):
    """A request cannot be carried out as it was put (an unknown name, an address in use, a loop)."""


class TransientError(BouncepollError):
    """Something outside failed and may work later."""


class SourceUnavailable(TransientError):
    """The mailbox cannot be reached, does not answer in time, or refused the login.

    ``retry_after_s`` is how long its server wants to be left alone, in seconds; None when it does not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(TransientError):
    """The database is locked, full, read-only or gone: nothing else can be stored either.

    ``reason`` is one of ``full``, ``locked``, ``read_only``, ``replaced``, ``schema``, ``damaged``,
    ``refused`` (the login, or the right to the file) and ``unreachable``.
    """

    def __init__(self, message: str, *, reason: str = "unreachable") -> None:
        super().__init__(message)
        self.reason = reason


class StoreRefused(StoreUnavailable):
    """The database is well and refused what was to be stored: it concerns the work in hand and nothing else."""


class LeaseLost(TransientError):
    """Another node has this mailbox, or is about to: nothing of it is stored, and nothing is done there."""


class DeliveryDeferred(TransientError):
    """A mail could not be handed to the next hop now."""


class PermanentError(BouncepollError):
    """Trying again changes nothing."""


class MessageUnreadable(PermanentError):
    """One message cannot be processed; it is kept in quarantine."""


class DeliveryFailed(PermanentError):
    """The next hop will never take this mail."""

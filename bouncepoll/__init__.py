"""bouncepoll: polls the mailboxes behind newsletter senders and reads what comes back."""

__version__ = "0.1.0"

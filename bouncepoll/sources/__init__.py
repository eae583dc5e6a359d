"""Where mails come from: one module a protocol. A source defines ``Options`` and ``create``."""

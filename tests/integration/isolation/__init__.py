"""Mails that do something to the process that reads them."""

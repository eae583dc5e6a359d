"""The arguments of MAIL and RCPT (RFC 5321 section 4.1.1), and the replies to commands."""

import re
from typing import NamedTuple

MAX_PATH = 320

# A path as clients write it: RFC 5321 allows no space after the colon, and wants the angle brackets. What stands in
# them is looked at by whoever knows the addresses; here it only must not break out of a header field or a log line.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ARGUMENT = re.compile(
    rf'(?P<keyword>FROM|TO):[ ]*+(?:<(?P<path>(?:{_QUOTED}|[^"<> ])*)>|(?P<bare>[^"<> ]++))'
    r"(?:[ ]++(?P<parameters>.*))?",
    re.IGNORECASE,
)
# RFC 5321 appendix C: a source route is accepted and ignored; the mailbox is what follows the colon.
_ROUTE = re.compile(r"\A@[^@,:\"]++(?>(?:,@[^@,:\"]++)*):")
_PARAMETER = re.compile(r"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]{0,63})(?:=(?P<value>[!-<>-~]{1,500}))?")

_REPLY = re.compile(r"(?P<code>[245]\d\d)(?P<mark>[ -])(?P<status>[245]\.\d{1,3}\.\d{1,3} )?(?P<text>.*)")
_UNPRINTABLE = re.compile(r"[^ -~]")
#: Status codes (RFC 3463) of the replies that have none of their own.
_STATUS = {
    "220": "2.0.0",
    "250": "2.0.0",
    "451": "4.3.0",
    "454": "4.7.0",
    "500": "5.5.2",
    "501": "5.5.4",
    "502": "5.5.1",
    "503": "5.5.1",
    "530": "5.7.0",
}


class Argument(NamedTuple):
    """A path without its brackets and its source route, ``""`` for ``<>``; and the parameters, keywords upper case."""

    path: str
    parameters: dict[str, str | None]


def argument(keyword: str, text: str | None) -> Argument | None:
    """Return what stands after MAIL (``FROM``) or RCPT (``TO``); None when it is not written as it has to be."""
    match = _ARGUMENT.fullmatch(text or "")
    if match is None or match["keyword"].upper() != keyword:
        return None
    path = _ROUTE.sub("", match["bare"] if match["path"] is None else match["path"], count=1)
    if len(path) > MAX_PATH or not path.isprintable():
        return None
    parameters: dict[str, str | None] = {}
    for word in (match["parameters"] or "").split():
        found = _PARAMETER.fullmatch(word)
        if found is None or found["keyword"].upper() in parameters:
            return None
        parameters[found["keyword"].upper()] = found["value"]
    return Argument(path, parameters)


def mail_fault(parameters: dict[str, str | None], max_octets: int) -> str | None:
    """Return the reply to parameters of MAIL that cannot be met; None when all can: SIZE, BODY and SMTPUTF8."""
    for keyword, value in parameters.items():
        if keyword == "SIZE":
            if value is None or not value.isdecimal() or len(value) > 20:
                return "501 5.5.4 SIZE is a number of octets"
            if int(value) > max_octets:
                return "552 5.3.4 The mail is larger than what is accepted here"
        elif keyword == "BODY":
            if value is None or value.upper() not in {"7BIT", "8BITMIME"}:
                return "501 5.5.4 BODY is 7BIT or 8BITMIME"
        elif keyword == "SMTPUTF8":
            if value is not None:
                return "501 5.5.4 SMTPUTF8 takes no value"
        else:
            return "555 5.5.4 A parameter is not known here"
    return None


def with_status(reply: str) -> str:
    """Return a reply with its status code (RFC 2034), and without what a client smuggled into it."""
    match = _REPLY.fullmatch(_UNPRINTABLE.sub("?", reply))
    if match is None or match["status"] or match["code"] not in _STATUS:
        return _UNPRINTABLE.sub("?", reply)
    return f"{match['code']}{match['mark']}{_STATUS[match['code']]} {match['text']}"

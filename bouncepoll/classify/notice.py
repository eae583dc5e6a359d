"""What the detectors of text notices share: who may send one, whom it names, and the text that speaks of each."""

import re
from collections.abc import Iterable, Iterator

from bouncepoll.classify import diagnostic, linear
from bouncepoll.classify.address import addresses, normalise
from bouncepoll.model.message import values_of
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

_BLOCK_LIMIT = 4096
# Patterns that are tried at the beginning only cost less by ``re``; no repetition in them holds another.
_SYSTEM_NAMES = re.compile(
    r"(?ai)^(?:mailer[-_. ]?d(?:a?e)mon|mail[-_.]?daemon|post[-_.]?master|mdaemon|mail(?:er)?[-_.]?delivery.*"
    r"|mail[-_.](?:system|admin|robot|bounces?)|bounces?|double-bounce|mmdf|uucp|smtp|mta.*|ndr|dsn|daemon|mail[-_.]?gate.*"
    r"|system[-_.]?administrator|exchange|listserv|majordomo|administrator|scanner|webshield.*|mailsweeper|mimesweeper|mailmarshal|interscan|groupshield|mail[-_.]?server|antivirus|virus.*|amavis.*|gwia|maiser)$"
)
_SYSTEM_DISPLAY = re.compile(
    r"(?ai)^\s*[\"']?(?:mail(?:er)? ?(?:delivery|daemon|deliver)|system administrator|systemadministrat"
    r"|mail ?system|postmaster\b"
    r"|mail administrator|delivery (?:subsystem|system)|internet mail (?:delivery|service)|message router"
    r"|mailer-daemon)"
)
# The subjects MTAs write: Postfix, Sendmail, Exim, qmail, Exchange, Gmail, PMDF. Who passes one on adds a prefix.
_SYSTEM_SUBJECT = re.compile(
    r"(?ai)^\s*(?:undelivered mail returned to sender|returned mail: |mail delivery failed: returning|failure notice$"
    r"|delivery status notification|undeliverable: |undeliverable mail|undeliverable message"
    r"|mail delivery fail(?:ed|ure)$"
    r"|delivery (?:failure|notification: delivery)|nondeliverable mail|mail system error - returned mail"
    r"|unzustellbar: )"
)
_ANSWER = re.compile(r"(?ai)^\s*(?:re|aw|antw|sv|vs|odp|res|rif|ynt|auto)\s*:")
_REPORT = linear.compile(r"(?i)multipart/report\b.*\breport-type\s*=\s*\"?delivery-status")
# A person at a program of his own, even one whose account is called "postmaster".
_HUMAN_PROGRAM = linear.compile(
    r"(?i)mozilla|thunderbird|apple mail|iphone mail|ipad mail|microsoft (?:office )?outlook|outlook express"
    r"|evolution|kmail|mutt"
    r"|the bat!|roundcube|squirrelmail|horde|zimbra \d|claws|sylpheed|airmail|k-9|gnus|alpine|pegasus"
)
_PROGRAM_FIELDS = frozenset({"user-agent", "x-mailer"})
_ADMINISTRATIVE = linear.compile(
    r"(?i)^(?:mailer-?daemon|post_?master|abuse|support|help(?:desk)?|hostmaster|webmaster|root|noreply|no-reply|"
    r"unsubscribe|spam|security|info-?desk|servicedesk|administrator)@"
)
_SPEAKER_LIMIT = 16_384
_FIELD_TO = linear.compile(r"(?im)^[ \t>]*(?:To|Cc):[ \t]*([^\n]*(?:\n[ \t]+[^\n]*)*)")
_WRAPPED = linear.compile(r"<([^\s<>]{2,300})\n[ \t]*([^\s<>]{2,300})>")
_BLANK = linear.compile(r"\n[ \t]*\n")


#: How notices write an address at the start of what they say of it. Counted repetitions would make RE2's programs
#: some hundred times larger; it is linear without them, and ``normalise`` refuses what is too long.
ADDRESS = r"""((?:"[^"\n]+"|[^\s<>()\[\]{}",;:@|`'（）「」【】＜＞《》：；，。、]+)@[\pL\pM\pN\[][\pL\pM\pN_.:\]-]*)"""
ANGLE_HEAD = linear.compile(
    r"(?im)^[ \t]{0,12}<" + ADDRESS + r">(?:[ \t]*\((?:expanded from|generated from)[^)\n]*\))?(?:[:,. \t]|$)"
)
BARE_HEAD = linear.compile(
    r"(?im)^[ \t]{0,16}['\"]?"
    + ADDRESS
    + r"['\"]?[ \t]*(?:\((?:ultimately )?(?:generated|expanded) from[^)\n]*\))?[ \t]*:?[ \t]*$"
)
_LINE_HEAD = linear.compile(r"(?im)^[ \t]{0,16}<?" + ADDRESS + r">?(?:[:, \t]|$)")
FAILURES = frozenset({Kind.BOUNCE, Kind.DELAY})


class TextNotice:
    """A detector for the notices of one MTA: known by a line it always writes, addresses at the head of blocks."""

    def __init__(self, name: str, signature: str, heads: Iterable[linear.Pattern]) -> None:
        """``signature`` is searched in the text, lines apart; the first of ``heads`` that finds an address is used."""
        self.name = name
        self.signature = signature
        self._signature = linear.compile(f"(?im){signature}")
        self._heads = tuple(heads)

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient the notice names."""
        shown = self._signature.search(reading.text[:_SPEAKER_LIMIT])
        if shown is None or not from_mail_system(reading):
            return None
        for head in self._heads:
            found = claims(blocks(reading.text, head), reading)
            if found:
                break
        else:
            found = fallback_claims(reading)
        return Detection(Kind.BOUNCE, found, FAILURES, Passage(shown[0].strip(), reading.where))


def from_mail_system(reading: Reading) -> bool:
    """Whether a mail server sent this mail: a null reverse-path, or a sender such as MAILER-DAEMON or postmaster."""
    known = reading.known.get("from_mail_system")
    if known is None:
        known = reading.known["from_mail_system"] = _from_mail_system(reading)
    return bool(known)


def _from_mail_system(reading: Reading) -> bool:
    message = reading.message
    if (message.header("Return-Path") or "").replace(" ", "") == "<>" or message.header("X-Failed-Recipients"):
        return True
    envelope = message.raw.envelope
    if envelope is not None and not envelope.reverse_path:
        return True
    if is_report(reading):
        return True
    if reading.has(_PROGRAM_FIELDS) and _HUMAN_PROGRAM.search(
        f"{message.header('User-Agent') or ''} {message.header('X-Mailer') or ''}"
    ):
        return False
    if _is_own_reverse_path(reading) and message.header("In-Reply-To") and _ANSWER.match(reading.subject):
        return False  # The person who looks after the mail server answers, from an account called "postmaster".
    return _is_system(message.header("From") or "", reading)


def answers_for_a_person(reading: Reading) -> bool:
    """Whether the mailbox of a person answered by itself: neither as a mail system nor with a report."""
    message = reading.message
    if message.header("X-Failed-Recipients") or is_report(reading):
        return False
    if not reading.sender or _is_system(message.header("From") or "", reading) or message.returned_headers:
        return False
    stated = (message.header("Auto-Submitted") or "").strip().lower()
    if stated.startswith(("auto-replied", "vacation")) and "failure" not in stated and "rejected" not in stated:
        return True
    generated_by = (message.header("X-MS-Exchange-Generated-Message-Source") or "").strip().lower()
    if generated_by.startswith("mailbox rules agent"):
        return True
    return bool(message.header("In-Reply-To")) and bool(_ANSWER.match(reading.subject))


def is_report(reading: Reading) -> bool:
    """Whether the header says that this is a report of delivery (RFC 6522, report-type delivery-status)."""
    written = reading.message.header("Content-Type") or ""
    return "delivery-status" in written.lower() and bool(_REPORT.search(written))


def _is_system(written: str, reading: Reading) -> bool:
    """Whether From names a mail system; a mail without From and Return-Path comes from one as well."""
    local = reading.sender.partition("@")[0]
    if local:
        if _SYSTEM_NAMES.match(local) or _SYSTEM_DISPLAY.match(written):
            return True
        # Who takes answers at the address he writes from is no server, whatever he calls his mail.
        return bool(_SYSTEM_SUBJECT.match(reading.subject)) and not _is_own_reverse_path(reading)
    written = written.strip(" <>\"'")
    if not written:
        return not reading.message.header("Return-Path")
    return bool(_SYSTEM_NAMES.match(written.partition("@")[0].partition(" <")[0].strip('" ')))


def _is_own_reverse_path(reading: Reading) -> bool:
    written = (reading.message.header("Return-Path") or "").strip(" <>").casefold()
    return bool(written) and written == reading.sender.casefold()


def failed_recipients(reading: Reading) -> list[str]:
    """Return the addresses of X-Failed-Recipients (written by Exim, Gmail and others)."""
    return [found for value in reading.message.header_values("X-Failed-Recipients") for found in addresses(value)]


def unwrapped(text: str) -> str:
    """Return ``text`` with each address in angle brackets that was wrapped over two lines in one piece."""
    if ">" not in text:
        return text
    return _WRAPPED.sub(lambda match: f"<{match[1]}{match[2]}>" if "@" in match[0] else match[0], text)


def returned_recipients(reading: Reading) -> list[str]:
    """Return the addresses in To and Cc of the returned mail, wherever it stands."""
    headers = reading.message.returned_headers
    values = [*values_of(headers, "To"), *values_of(headers, "Cc")]
    if not values and reading.returned_text:
        values = [match[1] for match in _FIELD_TO.finditer(reading.returned_text[:16_384])]
    return list(dict.fromkeys(found for value in values for found in addresses(value)))


def own_addresses(reading: Reading) -> frozenset[str]:
    """Return, in lower case, the addresses no notice reports: who wrote it, and who it is sent to."""
    message = reading.message
    named = [reading.sender]
    for field in ("To", "Delivered-To", "X-Original-To", "Reply-To", "Envelope-To"):
        for value in message.header_values(field):
            named += addresses(value)
    return frozenset(address.casefold() for address in named)


def is_administrative(address: str) -> bool:
    """Whether an address is one that notices name as a contact."""
    return bool(_ADMINISTRATIVE.match(address))


def blocks(text: str, head: linear.Pattern, *, backward: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each address that ``head`` (each of its groups: the address) finds, with the text up to the next one.

    ``backward``: the text that speaks of an address stands before it, after the one before.
    """
    heads = list(head.finditer(text))
    for at, match in enumerate(heads):
        address = normalise(next(filter(None, match.groups()), None))
        if not address:
            continue
        if backward:
            start = heads[at - 1].end() if at else 0
            # The line with the address concludes; it is believed before what led to it.
            yield address, f"{match[0]}\n{text[max(start, match.start() - _BLOCK_LIMIT) : match.start()]}"
        else:
            end = heads[at + 1].start() if at + 1 < len(heads) else len(text)
            yield address, text[match.start() : min(end, match.start() + _BLOCK_LIMIT)]


def about(text: str, address: str) -> str:
    """Return the paragraph of ``text`` that names ``address`` (and the next, when it holds the address only).

    Of a paragraph with a line for each of several addresses only the lines up to the next address are returned.
    """
    at = text.casefold().find(address.casefold())
    if at < 0:
        return ""
    start = text.rfind("\n\n", 0, at) + 1
    end = text.find("\n\n", at)
    if end >= 0 and end - start < len(address) + 24:
        end = text.find("\n\n", end + 2)
    paragraph = text[start : end if end >= 0 else len(text)][:_BLOCK_LIMIT]
    if paragraph.count("@") < 2:
        return paragraph
    lines = list(_LINE_HEAD.finditer(paragraph))
    if len(lines) < 2:
        return paragraph
    for number, line in enumerate(lines):
        if (normalise(line[1]) or "").casefold() == address.casefold():
            return paragraph[line.start() : lines[number + 1].start() if number + 1 < len(lines) else len(paragraph)]
    return paragraph


def claim(address: str | None, block: str, reading: Reading, where: str | None = None, *, alone: bool = False) -> Claim:
    """Return the claim for one recipient of a text notice; ``alone``: the whole text speaks of this recipient."""
    said = _after(block, address)
    spoken = diagnostic.read(said)
    whole = diagnostic.read(reading.text) if alone and not (spoken.reply or spoken.status) else spoken
    report = RecipientReport(
        final_recipient=address,
        status=whole.status,
        reply=whole.reply,
        diagnostic_code=" ".join(said.split())[:_BLOCK_LIMIT] or None,
        remote_mta=spoken.host or whole.host,
    )
    passages = [Passage(block, reading.where)]
    if alone and not spoken.reply and len(block) < len(reading.text):
        passages.append(Passage(reading.text, reading.where))
    return Claim(report, None, tuple(passages), where)


def claims(found: Iterable[tuple[str, str]], reading: Reading) -> tuple[Claim, ...]:
    """Return the claims of a text notice, one for each address; blocks that name it again are added to its first."""
    kept: dict[str, tuple[str, str]] = {}
    for address, block in found:
        known = kept.setdefault(address.casefold(), (address, ""))
        kept[address.casefold()] = (known[0], f"{known[1]}\n{block}".strip("\n")[:_BLOCK_LIMIT])
    return tuple(claim(address, block, reading, alone=len(kept) == 1) for address, block in kept.values())


def fallback_claims(reading: Reading) -> tuple[Claim, ...]:
    """Return the claims when the text names nobody: X-Failed-Recipients, else whom the returned mail was for."""
    named = failed_recipients(reading)
    if named:
        return tuple(
            claim(a, about(reading.text, a), reading, "X-Failed-Recipients", alone=len(named) == 1) for a in named
        )
    returned = returned_recipients(reading)
    if len(returned) == 1:
        return (claim(returned[0], reading.text[:_BLOCK_LIMIT], reading, "returned To", alone=True),)
    return (claim(None, reading.text[:_BLOCK_LIMIT], reading, alone=True),)


def _after(block: str, address: str | None) -> str:
    """Return a block without the address it begins with, for a digit in an address is no reply code."""
    if not address:
        return block
    at = block[: 2 * len(address) + 80].casefold().find(address.casefold())
    if not 0 <= at < 40:
        return block
    return block[:at].rstrip("<'\"") + block[at + len(address) :].lstrip(">:'\" \t.")

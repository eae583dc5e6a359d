"""Some server says it could not deliver to an address: the last resort, and the most careful."""

from collections.abc import Iterator

from bouncepoll.classify import linear, notice
from bouncepoll.classify.address import addresses
from bouncepoll.classify.notice import ADDRESS, ANGLE_HEAD, BARE_HEAD
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind

TIER = 40

_LIMIT = 16_384
_LABELLED = linear.compile(
    r"(?im)^[ \t*-]*(?:(?:failed |intended |final |original |e-?mail |mail |delivery |invalid |unknown |no such "
    r"|local )*"
    r"(?:recipients?|address(?:es)?"
    r"|addressee|mailbox|user|username|account|to|rcpt to|destinataires?|empf.nger|destinatari[oa]s?|ontvanger"
    r"|user ?id|alias)"
    r"(?: ?\(s\)| address| name)?)[ \t]*[:=][ \t]*['\"<]{0,2}" + ADDRESS
)
_SENTENCE = linear.compile(
    r"(?im)(?:deliver\w*|send\w*|sent|unable|failed|failure|mail|message|forward\w*|undeliverable|reach\w*|recipient"
    r"|address|user|mailbox|account|zugestellt|livr\w*|entreg\w*|recapit\w*)\b[^@\n]{0,80}?(?:\n[ \t]*)?"
    r"[ \t<'\"(:\[]" + ADDRESS
)
_LEADING = linear.compile(r"(?im)^[ \t*-]{0,12}<?" + ADDRESS + r">?[ \t]*(?:[:;,(-]|\.\.\.|[ \t]+[^\s])")
_TRANSCRIPT = linear.compile(
    r"(?im)^(?:>>> )?(?:RCPT To: ?|\d{3}[ -](?:\d\.\d{1,3}\.\d{1,3} )?)<?" + ADDRESS + r">?(?:\.\.\.|:|[ \t]|$)"
)
_HEADS = (_TRANSCRIPT, ANGLE_HEAD, BARE_HEAD, _LEADING, _LABELLED, _SENTENCE)


class GenericDetector:
    """Leaves it to the rules whether the words are those of a notice; only mail systems are heard at all."""

    name = "generic"

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient the text names as failed."""
        if not notice.from_mail_system(reading) or not (reading.text or reading.subject):
            return None
        if notice.answers_for_a_person(reading):
            return None
        found = tuple(_found(reading))
        claims = notice.claims(found, reading) if found else notice.fallback_claims(reading)
        # Who lists failed recipients in the header says enough, in whatever language the text is.
        is_stated = bool(notice.failed_recipients(reading))
        return Detection(Kind.BOUNCE if is_stated else None, claims, notice.FAILURES)


def create() -> GenericDetector:
    """Build the detector."""
    return GenericDetector()


def _found(reading: Reading) -> Iterator[tuple[str, str]]:
    """Yield addresses and their blocks: what the headers name, then what was returned, then what the text names."""
    text = notice.unwrapped(reading.text[:_LIMIT])
    failed = notice.failed_recipients(reading)
    if failed:
        yield from ((address, notice.about(text, address)) for address in failed)
        return
    returned = {address.casefold() for address in notice.returned_recipients(reading)}
    both = [address for address in addresses(text) if address.casefold() in returned]
    if both:
        yield from ((address, notice.about(text, address)) for address in both)
        return
    own = notice.own_addresses(reading)
    for head in _HEADS:
        named = [
            (address, block)
            for address, block in notice.blocks(text, head)
            if address.casefold() not in own and not notice.is_administrative(address)
        ]
        if named:
            yield from named
            return
    # A sentence in any language: whom else does it speak of, if it names just one?
    others = [address for address in addresses(text) if address.casefold() not in own]
    if not returned and len(others) == 1 and not notice.is_administrative(others[0]):
        yield others[0], notice.about(text, others[0])

"""Reports of domains, not of recipients: DMARC (RFC 7489 section 7), SMTP TLS (RFC 8460), failures told in words."""

from bouncepoll.classify import linear
from bouncepoll.model.message import Part
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 10

_TYPES = frozenset(
    {"application/tlsrpt+gzip", "application/tlsrpt+json", "application/dmarc+xml", "application/dmarc+gzip"}
)
_FIELDS = ("TLS-Report-Domain", "TLS-Report-Submitter")
_NAMES = frozenset(field.lower() for field in _FIELDS)
# RFC 7489 section 7.2.1.1 and RFC 8460 section 5.1: receiver "!" policy-domain "!" begin "!" end ["!" unique] "." ext.
# QUIRK: some put a prefix before it, end with ".gzip" or ".json.gzip", or write the days as dates.
_FILENAME = linear.compile(
    r"(?i)^[^!\s]{1,255}![^!\s]{1,255}!\d{6,14}(?:\.\d+)?!\d{6,14}(?:\.\d+)?(?:![^!\s]{1,200})?\.(?:xml|json"
    r"|zip|gz)(?:\.gz(?:ip)?)?$"
)
_PACKED = linear.compile(r"(?i)^[^\s]{0,200}dmarc[^\s]{0,200}\.(?:xml|zip)(?:\.gz)?$")
_SUBJECT = linear.compile(
    r"(?i)^\s*(?:\[[^\]]{1,40}\]\s*)?(?:Report Domain:\s*\S{1,255}[\s;,]*Submitter:"
    r"|(?:DMARC|TLS)(?: aggregate| failure| forensic)? report (?:for|from|domain)\b[: ]{0,3}\S{1,255}\.\S)"
)
# RFC 6591 appendix B as OpenDMARC and others send it without the report part; aggregate reports told in words.
_OPENING = linear.compile(
    r"(?i)^\s*(?:this is an? (?:(?:spf|dkim|dmarc|authentication)(?:[ /]+(?:spf|dkim|dmarc"
    r"|authentication))*[- ]failure report"
    r"|(?:email )?(?:authentication|auth)[- ]failure report|dmarc (?:aggregate|failure|forensic)? ?report"
    r"|(?:aggregate|smtp) (?:dmarc|tls|report) ?(?:report|from)"
    r"|aggregate (?:tls )?report))"
)
# What the alternatives of the pattern begin with.
_FIRST_WORDS = ("this is a", "email auth", "auth", "dmarc ", "aggregate ", "smtp ")
_XML = linear.compile(r"(?s)^[^<]{0,3}(?:<\?xml[^>]{0,100}>\s*)?<feedback\b.{0,200}<(?:version|report_metadata)>")


class AggregateReportDetector:
    """Knows the reports by media type, file name, subject or field as the RFCs prescribe, else by their first words."""

    name = "dmarc_tls_report"

    def detect(self, reading: Reading) -> Detection | None:
        """Return kind ``report``; such a report names no recipient."""
        message = reading.message
        for part in message.parts:
            if not part.returned and (shown := _shown(part)):
                return Detection(Kind.REPORT, shown_by=Passage(shown, f"part {part.path}"))
        if "report" in reading.subject.lower() and _SUBJECT.match(reading.subject):
            return Detection(Kind.REPORT, shown_by=Passage(reading.subject, "Subject"))
        if reading.has(_NAMES):
            for field in _FIELDS:
                value = message.header(field)
                if value:
                    return Detection(Kind.REPORT, shown_by=Passage(value, field))
        beginning = reading.text[:400]
        opening = _OPENING.match(beginning) if beginning.lstrip().lower().startswith(_FIRST_WORDS) else None
        if opening:
            return Detection(Kind.REPORT, shown_by=Passage(opening[0].strip(), reading.where))
        return None


def create() -> AggregateReportDetector:
    """Build the detector."""
    return AggregateReportDetector()


def _shown(part: Part) -> str | None:
    """Return what shows that a part is an aggregate report, or None."""
    if part.content_type in _TYPES:
        return part.content_type
    if part.filename and (_FILENAME.match(part.filename) or _PACKED.match(part.filename)):
        return part.filename
    if part.content_type in {"text/xml", "application/xml"} and part.text and _XML.match(part.text[:1000]):
        return "<feedback>"
    return None

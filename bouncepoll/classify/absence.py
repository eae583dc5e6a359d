"""Reads what an automatic reply states: until when, from when, whether somebody left, whom to write to instead.

Only what is certain is read: a date needs a form that has one meaning only. One without a year ("back on 3 March") is
read against the Date of the mail.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice

from bouncepoll.classify import linear
from bouncepoll.classify.address import addresses
from bouncepoll.classify.text import collapse
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Absence

_TEXT_LIMIT = 4096
_MAX_ADDRESSES = 5
_MAX_DATES = 50
_YEARS = range(1990, 2101)
#: A day without a year lies at most this long before the mail; else the next year's is meant.
_PAST = timedelta(days=60)

# The names of the months, as they stand in a date, by their first letters.
_MONTHS: tuple[tuple[str, ...], ...] = (
    ("jan", "jän", "gen", "ene", "stycz", "siječ", "янв", "січ", "oca", "tam", "led", "ιαν", "sau", "ינואר", "يناير"),
    ("feb", "fév", "fev", "lut", "velj", "фев", "лют", "şub", "sub", "hel", "únor", "φεβ", "vas", "פברואר", "فبراير"),
    ("mar", "mär", "maer", "mrt", "mrz", "maa", "ožuj", "мар", "бер", "bře", "már", "μαρ", "μάρ", "kov", "מרץ", "مارس"),
    ("apr", "avr", "abr", "kwi", "travnj", "апр", "кві", "nis", "huh", "dub", "ápr", "απρ", "bal", "אפריל", "أبريل"),
    ("may", "mai", "mag", "mei", "maj", "svib", "мая", "май", "трав", "tou", "kvě", "máj", "μα", "geg", "מאי", "مايو"),
    ("jun", "giu", "juin", "cze", "lipnj", "июн", "юни", "черв", "haz", "kes", "jún", "ιουν", "birž", "יוני", "يونيو"),
    ("jul", "lug", "juil", "lip", "srpnj", "июл", "юли", "tem", "hei", "júl", "ιουλ", "liep", "יולי", "يوليو"),
    ("aug", "aoû", "aou", "ago", "sie", "kolov", "авг", "серп", "ağu", "elo", "srpn", "αυγ", "rugp", "אוגוסט", "أغسطس"),
    ("sep", "set", "wrz", "ruj", "сен", "сеп", "вер", "eyl", "syy", "zář", "szept", "σεπ", "rugs", "ספטמבר", "سبتمبر"),
    ("oct", "okt", "ott", "out", "paź", "окт", "жов", "eki", "lok", "říj", "οκτ", "spal", "אוקטובר", "أكتوبر"),
    ("nov", "lis", "stud", "ноя", "ное", "лист", "kas", "νοε", "lapk", "נובמבר", "نوفمبر"),
    ("dec", "dez", "dic", "déc", "gru", "pros", "дек", "груд", "ara", "jou", "δεκ", "gruod", "דצמבר", "ديسمبر"),
)
# Names that begin as another month does in another language; asked first. "listopada" is November in Poland and October
# in Croatia, so it is no certain date.
_WHOLE = {
    "listopada": 0,
    "listopad": 0,
    "marraskuuta": 11,
    "července": 7,
    "června": 6,
    "juillet": 7,
    "juin": 6,
    "mayıs": 5,
    "kasım": 11,
    "kasim": 11,
    "lipnja": 6,
    "srpnja": 7,
    "liepos": 7,
    "lipca": 7,
    "maí": 5,
    "ágúst": 8,
    "desember": 12,
    "desembre": 12,
}
_NAME = r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Hebrew}\p{Arabic}]{3,12}"
_SEPARATOR = r"(?:st|nd|rd|th|er|º|°|\.|-an)?,? ?(?:of |de |d'|den )?"
_DATE = linear.compile(
    r"(?P<y1>\d{4})-(?P<m1>\d{1,2})-(?P<d1>\d{1,2})"
    r"|(?P<y2>\d{4}) ?[年/.] ?(?P<m2>\d{1,2}) ?[月/.] ?(?P<d2>\d{1,2})(?: ?日)?"
    r"|(?P<y5>\d{4}) ?년 ?(?P<m5>\d{1,2}) ?월 ?(?P<d5>\d{1,2}) ?일"
    r"|(?P<d3>\d{1,2})\. ?(?P<m3>\d{1,2})\. ?(?P<y3>\d{4})"
    r"|(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y4>\d{4})"
    r"|(?P<d6>\d{1,2})" + _SEPARATOR + r"(?P<n6>" + _NAME + r")\.?,? (?:de |del )?(?P<y6>\d{4})"
    r"|(?P<y8>\d{4})\. ?(?:gada |m\. )?(?P<n8>" + _NAME + r")\.? (?P<d8>\d{1,2})"
    r"|(?P<n7>[A-Za-z]{3,9})\.? (?P<d7>\d{1,2})(?:st|nd|rd|th)?,? (?P<y7>\d{4})"
)
# Without a year: the day before the month, or the month before the day.
_DAY = linear.compile(
    r"(?P<m11>\d{1,2}) ?[月월] ?(?P<d11>\d{1,2}) ?[日号號일]"
    r"|(?P<d12>\d{1,2})\. ?(?P<m12>\d{1,2})\."
    r"|(?P<d9>\d{1,2})" + _SEPARATOR + r"(?P<n9>" + _NAME + r")"
)
_MONTH_AND_DAY = linear.compile(r"\b(?P<n10>[A-Za-z]{3,9})\.? (?P<d10>\d{1,2})(?:st|nd|rd|th)?\b")
# What follows a number that is no day: a time, a share, a decimal.
_NO_DAY = linear.compile(r"^(?:[:/%\d]|[.,]\d| ?(?:Uhr|h|am|pm|a\.m|p\.m|o.clock)\b)")
# What stands before a date, at its end: the last day of the absence, or the first day after it.
_BACK = linear.compile(
    r"(?i)(?:return(?:ing)?|back|r(?:ü|ue)ckkehr|wieder|zur(?:ü|ue)ck|retour|regres\w*|vuel\w*|rientr\w*"
    r"|torner\w*|ritorn\w*"
    r"|volt\w*|retorn\w*|terug|wr(?:ó|o)c\w*|powr\w*|tillbaka|(?:å|a)ter|tilbake?|palaa\w*|takaisin|zp(?:ě|e)t"
    r"|n(?:á|a)vrat\w*"
    r"|revin|(?:î|i)ntorc|vra(?:ć|c)am|vrnem|верн\w*|возвращ\w*|выйду|поверн\w*|връща\w*|επιστρ\w*|d(?:ö|o)n\w*|kembali|aftur|torn\w*)"
    r"[^\d.!?]*$"
)
_UNTIL = linear.compile(
    r"(?i)(?:until|till|through|\bto|untill|\bbis(?: zum)?(?: einschlie(?:ß|ss)lich)?|jusqu(?:'|’)?(?:au|à|a)"
    r"|\bau|hasta|\bal"
    r"|fino al?|sino al?|at(?:é|e)|\ba|\btot(?: en met)?|t/m|\bdo|till och med|t\.?o\.?m\.?|til og med|frem til"
    r"|indtil|\btil"
    r"|p(?:â|a|î)n(?:ă|a)(?: (?:î|i)n| la| pe)*|\biki|l(?:ī|i)dz|kuni|(?:^|[ (])(?:до|по)|حتى|إلى|עד(?: ה-?)?"
    r"|sampai|hingga|(?:έ|ε)ως|μ(?:έ|ε)χρι|[-–—~〜至到])"
    r"(?: (?:and including|the|el|le|d(?:í|i)a|o|dia|den|dnia|la|τις|την))*(?: [^\d .,]{2,12},)? ?$"
)
_UNTIL_AFTER = linear.compile(
    r"(?i)^(?: ?(?:г\.|года|року|tarihine|r\.))? ?(?:asti|saakka|-?ig\b|kadar|まで|까지|为止|為止|止)"
)
_BACK_AFTER = linear.compile(
    r"(?i)^ ?(?:回来|回來|返回|に(?:出社|戻り|復帰)|より(?:出社|通常)|에 (?:복귀|돌아)"
    r"|(?:an |tagen )?(?:wieder|tillbaka|tagasi))"
)

_LEFT = linear.compile(
    r"(?i)no longer (?:work|employed|with (?:us|the|our)|at (?:this|the|our)|part of)|(?:has|have) left (?:the"
    r"|our|my) |(?:has|have) retired"
    r"|nicht mehr (?:f(?:ü|ue)r|bei|im)[^.!?]*(?:t(?:ä|a)tig|besch(?:ä|a)ftigt|arbeit)"
    r"|arbeitet? (?:leider )?nicht mehr"
    r"|(?:unternehmen|firma|haus)[^.!?]* (?:verlassen|ausgeschieden)|ausgeschieden|im ruhestand"
    r"|ne travaille(?:s|nt)? plus|ne (?:fait|fais) plus partie|a quitt(?:é|e) |n.est plus (?:en poste|employ)"
    r"|ya no (?:trabaj|forma parte|labora|presta)|ha dejado la (?:empresa|compa)|non (?:lavora|fa parte"
    r"|collabora) pi(?:ù|u)"
    r"|non fa pi(?:ù|u) parte|ha lasciato l.azienda|j(?:á|a) n(?:ã|a)o trabalh|n(?:ã|a)o trabalh[ao] mais|n(?:ã"
    r"|a)o faz mais parte"
    r"|niet (?:meer|langer) (?:werkzaam|in dienst)|werkt[^.!?]* niet meer|ju(?:ż|z) nie pracuj"
    r"|nie pracuje ju(?:ż|z)"
    r"|больше не работа|уволил|більше не працю|(?:arbetar|jobbar) inte l(?:ä|a)ngre|har slutat|(?:jobber"
    r"|arbeider) ikke (?:lenger|lengre)"
    r"|har sluttet|arbejder ikke l(?:æ|ae)ngere|fratr(?:å|aa)dt|ei ole en(?:ää|aa) |(?:ji(?:ž|z)|u(?:ž"
    r"|z)) [^.!?]*nepracuj"
    r"|m(?:á|a)r nem [^.!?]*dolgoz|nu mai lucreaz|вече не работ|δεν εργ(?:ά|α)ζεται πλ(?:έ|ε)ον|vi(?:š"
    r"|s)e ne radi|ne dela ve(?:č|c)"
    r"|art[ıi]k [^.!?]*[çc]al[ıi][şs]m|nebedirb|vairs nestr(?:ā|a)d|ei t(?:öö|oo)ta enam"
    r"|ja no treballa|starfar ekki lengur|tidak lagi bekerja|nie je (?:už"
    r"|uz) zamestnan|لم (?:أعد|يعد|تعد) [^.]*(?:أعمل|يعمل|تعمل)|(?:כבר )?לא עובד|退職|退社|离职|離職|퇴사|퇴직"
)
# Who names another address says what it is for; an address in a signature stands alone.
_INSTEAD = linear.compile(
    r"(?i)contact|\be-?mail [^:]*$|write|reach|direct|forward|send|kontakt|wenden|schreib|richten|mailen"
    r"|vertretung|vertritt|(?:é|e)cri[rtv]"
    r"|adresse[rz]|envo|escrib|dir[ií]j|contatt|rivolg|scriv|contat|contact|escrev|neem|stuur|mail naar|skriv"
    r"|kontaktuj|prosz|pisa"
    r"|обращ|обрат|пиш|звер|напи|(?:ö|o)nder|ba(?:ş|s)vur|yaz[ıi]n|v(?:ä|a)nd|henvend|yhtey|kirjoit|obra(?:t|ť)"
    r"|p(?:í|i)(?:š|s)te|fordul|(?:í|i)r(?:j|á)"
    r"|adresa|scrie|свърж|επικοινων|γρ(?:ά|α)ψ|javite|pi(?:š|s)ite|obrni|kreip|ra(?:š|s)ykite|sazin|rakst"
    r"|p(?:öö|oo)rdu|kirjut"
    r"|連絡|お願い|联系|聯|写信|寫信|致|연락|문의|보내|تواصل|مراسل|اتصال|לפנות|פנו|קשר|כתבו"
)

# Japanese and Chinese put no space between an address and the words around it.
_WIDE = linear.compile(r"[、。，：；！（）「」【】]")
_INSTEAD_AFTER = linear.compile(r"(?i)^\W{0,3}(?:adresine|yaz|へ|宛|まで|までご|に(?:ご|お)|로|으로|联系|聯絡)")


def read(reading: Reading) -> Absence | None:
    """Return what the first 4 KiB of an automatic reply state, or None when that is nothing. Never raises."""
    text = collapse(f"{reading.subject}\n{reading.text}", _TEXT_LIMIT)
    until, back = _days(text, _written_on(reading))
    left = bool(_LEFT.search(text))
    others = tuple(_others(text, reading))
    if not (until or back or left or others):
        return None
    return Absence(away_until=until, back_on=back, left=left, write_to=others)


def _written_on(reading: Reading) -> date | None:
    """Return the day the mail was written, else the day it came, else None."""
    try:
        return parsedate_to_datetime((reading.message.header("Date") or "")[:100]).date()
    except (ValueError, TypeError, IndexError, OverflowError):
        received = reading.message.raw.received_at
        return received.date() if received else None


def _days(text: str, written: date | None) -> tuple[date | None, date | None]:
    """Return the last day of the absence and the first day after it, each where the words before it say so."""
    until: date | None = None
    back: date | None = None
    for start, end, found in _dates(text, written):
        before, after = text[max(0, start - 60) : start], text[end : end + 24]
        if back is None and (_BACK.search(before) or _BACK_AFTER.search(after)):
            back = found
        elif until is None and (_UNTIL.search(before) or _UNTIL_AFTER.search(after)):
            until = found
    return until, back


def _dates(text: str, written: date | None) -> list[tuple[int, int, date]]:
    """Return the dates in ``text`` with their places, in order; one without a year never overlaps one with it."""
    found: list[tuple[int, int, date]] = []
    taken: list[tuple[int, int]] = []
    for pattern in (_DATE, _DAY, _MONTH_AND_DAY) if written else (_DATE,):
        for match in islice(pattern.finditer(text), _MAX_DATES):
            start, end = match.span()
            if text[start - 1 : start].isdigit() or any(start < stop and begin < end for begin, stop in taken):
                continue
            day = _date(pattern.named(match)) if pattern is _DATE else _near(pattern.named(match), text[end:], written)
            if day is not None:
                found.append((start, end, day))
            if day is not None or pattern is _DATE:
                taken.append((start, end))
    return sorted(found)


def _date(found: dict[str, str | None]) -> date | None:
    """Return the date of a match, or None when it has more than one meaning or none."""
    for number in ("1", "2", "5", "3", "6", "8", "7"):
        year, day = found.get(f"y{number}"), found.get(f"d{number}")
        if year and day:
            name = found.get(f"n{number}")
            month = _month(name) if name else int(found.get(f"m{number}") or 0)
            return _valid(int(year), month, int(day))
    year, first, second = found.get("y4"), int(found.get("a") or 0), int(found.get("b") or 0)
    if not year or (first <= 12 and second <= 12 and first != second):
        return None
    return _valid(int(year), min(first, second), max(first, second))


def _near(found: dict[str, str | None], after: str, written: date | None) -> date | None:
    """Return the first date of a day and a month that is not long past on the day the mail was written, or None."""
    if written is None or _NO_DAY.match(after):
        return None
    for number in ("9", "10", "11", "12"):
        day = found.get(f"d{number}")
        if day:
            name = found.get(f"n{number}")
            month = _month(name) if name else int(found.get(f"m{number}") or 0)
            near = [_valid(written.year + later, month, int(day)) for later in (0, 1)]
            return next((each for each in near if each and each >= written - _PAST), None)
    return None


def _month(name: str) -> int:
    """Return the number of a month by its name in one of the languages, or 0."""
    name = name.casefold().removeprefix("ב")
    if name in _WHOLE:
        return _WHOLE[name]
    return next((number for number, starts in enumerate(_MONTHS, 1) if name.startswith(starts)), 0)


def _valid(year: int, month: int, day: int) -> date | None:
    if year not in _YEARS:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _others(text: str, reading: Reading) -> Iterator[str]:
    """Yield the addresses the text says to write to: not the sender's own, nor those this mail is sent to."""
    message = reading.message
    own = {reading.sender}
    for field in ("To", "Cc", "Reply-To", "Delivered-To", "X-Original-To"):
        own.update(address.casefold() for value in message.header_values(field) for address in addresses(value))
    count = 0
    for address in addresses(_WIDE.sub(" ", text)):
        at = text.casefold().find(address.casefold())
        before, after = text[max(0, at - 120) : at], text[at + len(address) : at + len(address) + 40]
        if address.casefold() in own or not (_INSTEAD.search(before) or _INSTEAD_AFTER.match(after)):
            continue
        yield address
        count += 1
        if count == _MAX_ADDRESSES:
            return

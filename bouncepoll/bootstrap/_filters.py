"""What an administrator may ask of a bounce filter: a name, addresses that are some, and no way round in a circle."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.trust import TokenUse
from bouncepoll.resolve import addresses
from bouncepoll.settings import Settings
from bouncepoll.store.filters import SqlFilters

_MIN_NAME = 3
_MAX_NAME = 200
_MAX_DESCRIPTION = 2000
_MAX_FORWARDS = 100


class FilterDesk:
    """Takes filters from an administrator, checks them against everything that is there, and stores them."""

    def __init__(self, filters: SqlFilters, settings: Settings) -> None:
        self._filters = filters
        self._settings = settings

    def add(self, wanted: BounceFilter, mailbox: str | None) -> BounceFilter:
        """Store a new filter; see ``Application.add_filter``."""
        if wanted.filter_address and mailbox is not None:
            raise UsageError("a filter address and a mailbox to make one of contradict each other; give one of them")
        others = self._filters.all()
        checked = self._checked(replace(wanted, id=0), others)
        if checked.filter_address:
            return self._filters.add(checked)
        return self._filters.add(checked, self._address_maker(mailbox, [*others, checked]))

    def replace(self, changed: BounceFilter) -> BounceFilter:
        """Store a changed filter; see ``Application.replace_filter``."""
        if not changed.filter_address:
            raise UsageError(f"filter {changed.name!r} has no filter address; name one")
        others = [entry for entry in self._filters.all() if entry.id != changed.id]
        return self._filters.replace(self._checked(changed, others))

    def import_all(self, wanted: Sequence[BounceFilter], *, replace_existing: bool) -> tuple[int, int]:
        """Store many filters, all or none; see ``Application.import_filters``."""
        stored = {_key(entry.name): entry for entry in self._filters.all()}
        named: dict[str, BounceFilter] = {}
        for entry in wanted:
            if named.setdefault(_key(entry.name), entry) is not entry:
                raise UsageError(f"filter {entry.name[:80]!r} stands in the file twice; remove or rename one")
        known = named.keys() & stored.keys()
        if known and not replace_existing:
            first = stored[min(known)].name
            raise UsageError(f"filter {first!r} is there already; replace filters of the same name with --replace")
        others = [entry for key, entry in stored.items() if key not in named]
        checked = [self._checked(_numbered(entry, stored.get(key)), ()) for key, entry in named.items()]
        _refuse_loops([*others, *checked])
        unaddressed = any(not entry.filter_address for entry in checked)
        self._filters.save(checked, self._address_maker(None, [*others, *checked]) if unaddressed else None)
        return len(checked) - len(known), len(known)

    def _checked(self, wanted: BounceFilter, others: Iterable[BounceFilter]) -> BounceFilter:
        """Return a filter as it may be stored: white space trimmed, addresses comparable, each forward address once."""
        name = " ".join(wanted.name.split())
        if not (_MIN_NAME <= len(name) <= _MAX_NAME and name.isprintable()):
            raise UsageError(
                f"name: {name[:40]!r}: a filter's name has {_MIN_NAME} to {_MAX_NAME} printable characters"
            )
        if len(wanted.description) > _MAX_DESCRIPTION:
            raise UsageError(f"description: at most {_MAX_DESCRIPTION} characters; found {len(wanted.description)}")
        if wanted.tokens is TokenUse.REQUIRED and not self._settings.tokens.has_keys:
            raise UsageError(
                "tokens: required, and there is no key to check one with: nothing would count; run 'bouncepoll keys "
                "generate FILE' and set tokens.key_file to it"
            )
        forward_to = _forward_to(wanted.forward_to)
        for forward in forward_to:
            self._refuse_polled(forward)
        address = _filter_address(wanted.filter_address)
        found = replace(wanted, name=name, filter_address=address, forward_to=forward_to)
        _refuse_loops([*others, found])
        return found

    def _refuse_polled(self, forward: str) -> None:
        plain = _plain(forward)
        for name, options in self._settings.mailboxes.items():
            if options.own_address is not None and plain == _plain(options.own_address):
                raise UsageError(
                    f"loop: {forward} is the address of the polled mailbox {name!r}; choose one that is not polled"
                )
        domain = self._settings.filters.mailloop_domain
        if domain is not None and addresses.covers(f"@{domain}", plain):
            raise UsageError(
                f"loop: mails to {forward} come back to a polled mailbox (filters.mailloop_domain is {domain!r}); "
                "choose an address elsewhere"
            )

    def _address_maker(self, mailbox: str | None, filters: Sequence[BounceFilter]) -> Callable[[int], str]:
        """Return what makes the filter address of a filter's id, and refuses one that some filter forwards to."""
        templates = self._settings.filters
        template, mailbox_address = templates.address_template, None
        if mailbox is not None or not templates.has_own_domain:
            template, mailbox_address = templates.plus_address_template, self._mailbox_address(mailbox)

        def make(number: int) -> str:
            made = addresses.filter_address(
                template, number, mailbox_address=mailbox_address, mailloop_domain=templates.mailloop_domain
            )
            _refuse_loops([*filters, BounceFilter(number, f"filter {number}", made)])
            return made

        return make

    def _mailbox_address(self, name: str | None) -> str:
        known = {key: options.own_address for key, options in self._settings.mailboxes.items()}
        if name is None and len(known) == 1:
            (name,) = known
        if name is None:
            raise UsageError(
                "no filter address can be made: name one with --filter-address, or a polled mailbox with --mailbox, or "
                "set filters.mailloop_domain"
            )
        address = known[name]
        if address is None:
            raise UsageError(f"the mail address of mailbox {name!r} is not known; set mailboxes.{name}.address")
        return address


def _numbered(wanted: BounceFilter, stored: BounceFilter | None) -> BounceFilter:
    """Return an imported filter with the id, and where it has none the address, of the one it replaces."""
    if stored is None:
        return replace(wanted, id=0)
    return replace(wanted, id=stored.id, filter_address=wanted.filter_address or stored.filter_address)


def _refuse_loops(filters: Sequence[BounceFilter]) -> None:
    """Make sure that no filter forwards to where a filter gets its mails from; disabled ones count too."""
    by_address = {addresses.comparable_filter_address(f.filter_address): f for f in filters if f.filter_address}
    for forwarding in filters:
        for forward in forwarding.forward_to:
            plain = addresses.valid_address(forward) or forward.lower()
            entry = next((by_address[form] for form in addresses.forms_of(plain) if form in by_address), None)
            if entry is not None:
                raise UsageError(
                    f"loop: filter {forwarding.name!r} would forward to {forward}, whose mails belong to filter "
                    f"{entry.name!r} ({entry.filter_address}); choose an address that is not polled"
                )


def _plain(address: str) -> str:
    """Return an address to compare: in its comparable form, without its sub-address."""
    found = addresses.valid_address(address) or address.lower()
    return addresses.without_sub_address(found) or found


def _filter_address(address: str) -> str:
    if not address.strip():
        return ""
    found = addresses.valid_filter_address(address)
    if found is None:
        raise UsageError(
            f"filter address: {address[:80]!r} is none; write LOCAL@DOMAIN, or @DOMAIN for all of a domain"
        )
    return found


def _forward_to(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return forward addresses as they were written, each once."""
    found: dict[str, str] = {}
    for address in wanted:
        comparable = addresses.valid_address(address)
        if comparable is None:
            raise UsageError(f"forward address: {address[:80]!r} is none; write LOCAL@DOMAIN, without a name")
        found.setdefault(comparable, address.strip())
    if len(found) > _MAX_FORWARDS:
        raise UsageError(f"forward addresses: at most {_MAX_FORWARDS}; use a mailing list for {len(found)}")
    return tuple(found.values())


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()

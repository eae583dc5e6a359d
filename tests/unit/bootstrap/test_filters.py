"""Filters as an administrator asks for them."""

from pathlib import Path
from typing import Any

import pytest

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.verdict import Kind
from tests.unit.bootstrap.conftest import CONFIG, FakedApplication, wanted


class TestAddFilter:
    def test_what_is_asked_for_is_stored(self, application: FakedApplication) -> None:
        added = application.add_filter(
            wanted(
                "  Spring   news ", " Spring@Example.ORG ", "Team@example.net", "team@EXAMPLE.net", "two@example.net"
            )
        )
        assert added == application.store.filters.get("spring news")
        assert (added.id, added.name, added.filter_address) == (1, "Spring news", "spring@example.org")
        assert added.forward_to == ("Team@example.net", "two@example.net")
        assert application.filter_id("spring@example.org") == added.id
        assert application.filter_id(None) is None

    @pytest.mark.parametrize("name", ["", "ab", " a  ", "x" * 201, "two\nlines", "bell\x07", "right\u202eleft"])
    def test_a_name_has_three_printable_characters(self, application: FakedApplication, name: str) -> None:
        if name == "two\nlines":
            assert application.add_filter(wanted(name)).name == "two lines"
            return
        with pytest.raises(UsageError, match="a filter's name has 3 to 200 printable characters"):
            application.add_filter(wanted(name))

    @pytest.mark.parametrize("address", ["news", "a@b@c.example", "a b@c.example", "@", "a@", "a\r\nBcc: x@y.example"])
    def test_what_is_no_filter_address(self, application: FakedApplication, address: str) -> None:
        with pytest.raises(UsageError, match=r"filter address: .* is none; write LOCAL@DOMAIN"):
            application.add_filter(wanted(address=address))

    @pytest.mark.parametrize(
        "address", ["team", "Team <team@example.net>", "a@x.example,b@x.example", "a@x.example\r\n."]
    )
    def test_what_is_no_forward_address(self, application: FakedApplication, address: str) -> None:
        with pytest.raises(UsageError, match=r"forward address: .* is none; write LOCAL@DOMAIN, without a name"):
            application.add_filter(BounceFilter(0, "Spring", "spring@example.org", forward_to=(address,)))

    def test_bounds(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="at most 100; use a mailing list for 101"):
            application.add_filter(wanted("Many", "m@example.org", *(f"t{n}@example.net" for n in range(101))))
        with pytest.raises(UsageError, match="description: at most 2000"):
            application.add_filter(wanted(description="x" * 2001))

    @pytest.mark.parametrize("address", ["spring@example.org", "SPRING@EXAMPLE.ORG"])
    def test_a_filter_address_is_used_once(self, application: FakedApplication, address: str) -> None:
        application.add_filter(wanted())
        with pytest.raises(UsageError, match=r"spring@example.org belongs to filter 1"):
            application.add_filter(wanted("Other", address))
        with pytest.raises(UsageError, match="is called 'Spring' already"):
            application.add_filter(wanted("SPRING", "other@example.org"))
        assert len(application.store.filters.all()) == 1

    @pytest.mark.parametrize(
        "forward", ["spring@example.org", "Spring@Example.Org", "spring+x@example.org", "anyone@all.example"]
    )
    def test_forwarding_to_a_filter_address_is_a_loop(self, application: FakedApplication, forward: str) -> None:
        application.add_filter(wanted())
        application.add_filter(wanted("All", "@all.example"))
        with pytest.raises(UsageError, match="loop: filter 'Loop' would forward to"):
            application.add_filter(wanted("Loop", "loop@example.org", forward))

    def test_forwarding_to_oneself_is_a_loop(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="loop: "):
            application.add_filter(wanted("Loop", "loop@example.org", "loop@example.org"))

    @pytest.mark.parametrize("address", ["team@example.net", "@example.net"])
    def test_a_later_filter_address_must_not_be_forwarded_to(self, application: FakedApplication, address: str) -> None:
        application.replace_filter(BounceFilter(**as_fields(application.add_filter(wanted()), enabled=False)))
        with pytest.raises(UsageError, match=r"loop: filter 'Spring' would forward to team@example\.net"):
            application.add_filter(wanted("Other", address, "else@example.com"))

    @pytest.mark.parametrize("forward", ["news@example.org", "NEWS+team@example.org"])
    def test_forwarding_to_a_polled_mailbox_is_a_loop(self, application: FakedApplication, forward: str) -> None:
        with pytest.raises(UsageError, match="is the address of the polled mailbox 'news'"):
            application.add_filter(wanted("Loop", "loop@example.org", forward))

    def test_forwarding_into_the_mailloop_domain_is_a_loop(self, tmp_path: Path) -> None:
        with (
            FakedApplication(tmp_path, CONFIG, "filters.mailloop_domain=loop.example") as application,
            pytest.raises(UsageError, match="come back to a polled mailbox"),
        ):
            application.add_filter(wanted("Loop", "loop@example.org", "team@LOOP.example"))


class TestGeneratedAddress:
    def test_of_the_mailbox_that_is_named(self, application: FakedApplication) -> None:
        assert application.add_filter(wanted(address=""), "news").filter_address == "news+f1@example.org"
        assert application.add_filter(wanted("Second", ""), "news").filter_address == "news+f2@example.org"

    def test_of_the_only_mailbox_with_a_known_address(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="name one with --filter-address, or a polled mailbox with --mailbox"):
            application.add_filter(wanted(address=""))

    def test_of_the_only_mailbox(self, tmp_path: Path) -> None:
        text = CONFIG[: CONFIG.index("[mailboxes.shop]")]
        with FakedApplication(tmp_path, text) as application:
            assert application.add_filter(wanted(address="")).filter_address == "news+f1@example.org"

    def test_of_the_own_domain(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, CONFIG, "filters.mailloop_domain=loop.example") as application:
            assert application.add_filter(wanted(address="")).filter_address == "reply_1@loop.example"
            assert application.add_filter(wanted("Plus", ""), "news").filter_address == "news+f2@example.org"

    def test_of_own_templates(self, tmp_path: Path) -> None:
        overrides = [
            "filters.address_template=b-{id}@own.example",
            "filters.plus_address_template={local}-{id}@{domain}",
        ]
        with FakedApplication(tmp_path, CONFIG, *overrides) as application:
            assert application.add_filter(wanted(address="")).filter_address == "b-1@own.example"
            assert application.add_filter(wanted("Plus", ""), "news").filter_address == "news-2@example.org"

    def test_a_mailbox_without_a_known_address(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match=r"mailbox 'shop' is not known; set mailboxes\.shop\.address"):
            application.add_filter(wanted(address=""), "shop")
        with pytest.raises(UsageError, match="there is no mailbox 'nws'; known: news, shop"):
            application.add_filter(wanted(address=""), "nws")

    def test_an_address_and_a_mailbox_contradict_each_other(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="contradict each other"):
            application.add_filter(wanted(), "news")

    def test_one_that_is_forwarded_to_is_refused_and_nothing_stored(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, CONFIG, "filters.address_template=b-{id}@own.example") as application:
            application.add_filter(wanted("First", "first@example.org", "b-2@own.example"))
            with pytest.raises(UsageError, match=r"loop: .*b-2@own\.example"):
                application.add_filter(wanted("Second", ""))
            assert [entry.name for entry in application.store.filters.all()] == ["First"]


def as_fields(entry: BounceFilter, **changes: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in BounceFilter.__slots__} | changes


class TestReplaceFilter:
    def test_what_changed_is_checked_and_stored(self, application: FakedApplication) -> None:
        added = application.add_filter(wanted())
        changed = application.replace_filter(
            BounceFilter(**as_fields(added, name="Summer", filter_address="Summer@example.org"))
        )
        assert (changed.id, changed.filter_address) == (added.id, "summer@example.org")
        assert application.store.filters.all() == [changed]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"name": "x"}, "3 to 200"),
            ({"filter_address": ""}, "has no filter address"),
            ({"filter_address": "other@example.org"}, "belongs to filter 2"),
            ({"forward_to": ("other@example.org",)}, "loop: "),
            ({"forward_to": ("spring@example.org",)}, "loop: "),
            ({"id": 99, "name": "Ninety", "filter_address": "n@example.org"}, "there is no filter 99"),
        ],
    )
    def test_what_may_not_be(self, application: FakedApplication, changes: dict[str, Any], said: str) -> None:
        added = application.add_filter(wanted())
        application.add_filter(wanted("Other", "other@example.org"))
        with pytest.raises(UsageError, match=said):
            application.replace_filter(BounceFilter(**as_fields(added, **changes)))
        assert application.store.filters.get("Spring") == added


class TestImportFilters:
    def test_all_are_added(self, application: FakedApplication) -> None:
        two = [wanted(), wanted("Other", "other@example.org", forward_kinds=frozenset({Kind.REPLY}))]
        assert application.import_filters(two) == (2, 0)
        assert [entry.name for entry in application.store.filters.all()] == ["Spring", "Other"]

    def test_those_of_the_same_name_are_replaced_when_asked(self, application: FakedApplication) -> None:
        added = application.add_filter(wanted())
        changed = [wanted("SPRING", "", "else@example.com"), wanted("Other", "other@example.org")]
        with pytest.raises(UsageError, match=r"'Spring' is there already; .* --replace"):
            application.import_filters(changed)
        assert application.import_filters(changed, replace_existing=True) == (1, 1)
        kept = application.store.filters.get("spring")
        assert kept is not None
        assert (kept.id, kept.filter_address, kept.forward_to) == (1, added.filter_address, ("else@example.com",))

    @pytest.mark.parametrize(
        ("second", "said"),
        [
            (wanted("x", "x@example.org"), "3 to 200"),
            (wanted("spring", "x@example.org"), "stands in the file twice"),
            (wanted("Other", "spring@example.org"), "belongs to filter"),
            (wanted("Other", "x@example.org", "spring@example.org"), "loop: "),
            (wanted("Other", "team@example.net", "x@example.com"), "loop: "),
            (wanted("Other", ""), "no filter address can be made"),
        ],
    )
    def test_all_or_none(self, application: FakedApplication, second: BounceFilter, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            application.import_filters([wanted(), second])
        assert application.store.filters.all() == []

    def test_addresses_are_made_where_there_are_none(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, CONFIG, "filters.mailloop_domain=loop.example") as application:
            assert application.import_filters([wanted("One", ""), wanted("Two", "")]) == (2, 0)
            found = [entry.filter_address for entry in application.store.filters.all()]
            assert found == ["reply_1@loop.example", "reply_2@loop.example"]


class TestStoredFilters:
    def test_no_database_is_made_to_look_for_them(self, application: FakedApplication, tmp_path: Path) -> None:
        (tmp_path / "mails.db").unlink()
        assert application.stored_filters() == ()
        assert not (tmp_path / "mails.db").exists()

    def test_they_are_read(self, application: FakedApplication) -> None:
        added = application.add_filter(wanted())
        assert application.stored_filters() == [added]

    def test_an_unknown_one(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="there is no filter 'none'; 'bouncepoll filter list' shows them"):
            application.filter_id("none")

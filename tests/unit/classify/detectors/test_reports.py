"""Reports with a structure: RFC 3464, RFC 5965, JSON."""

import json
from collections.abc import Mapping

import pytest

from bouncepoll.model.verdict import Kind
from tests.unit.classify.mails import dsn, notice, only, summary, verdict

BOB = ("bob@example.org", "bounce", "user_unknown")


def test_each_recipient_of_a_report_is_a_finding_of_its_own_kind() -> None:
    found = summary(
        dsn(
            "Final-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1\n\n"
            "Final-Recipient: rfc822; b@example.org\nAction: delayed\nStatus: 4.4.1\n\n"
            "Final-Recipient: rfc822; c@example.org\nAction: delivered\nStatus: 2.0.0\n\n"
            "Final-Recipient: rfc822; d@example.org\nAction: relayed\nStatus: 2.0.0\n\n"
            "Final-Recipient: rfc822; e@example.org\nAction: expanded\nStatus: 2.0.0\n"
        )
    )
    assert found == [
        ("a@example.org", "bounce", "user_unknown"),
        ("b@example.org", "delay", "network_error"),
        ("c@example.org", "delivered", None),
        ("d@example.org", "delivered", None),
        ("e@example.org", "delivered", None),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        "Final-Recipient: bob@example.org\nAction: failure\nStatus: 5.1.1",
        "Original-Recipient: rfc822;bob@example.org\nFinal-Recipient: rfc822; x@inner.example\nAction: error\nStatus: 5.1.1",
        "Action: failed\nStatus: 5.1.1\n\nFinal-Recipient: rfc822; bob@example.org",
        "Final-Recipient: rfc822; bob@example.org\n\nAction: failed\nStatus: 5.1.1",
        "Final-Recipient: x400; /S=bob/\nX-Actual-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1",
        "Final-Recipient: rfc822; bob\nAction: failed\nStatus: 5.1.1",
        "Final-Recipient: rfc822; bob@example.org\nStatus: 5.1.1",
        "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.0.0 (user unknown)",
    ],
)
def test_sloppy_reports_are_read(fields: str) -> None:
    assert summary(dsn(f"{fields}\n")) == [BOB]


def test_recipients_without_blank_lines_between_them_are_told_apart() -> None:
    fields = "Final-Recipient: rfc822; {}@example.org\nAction: failed\nStatus: 5.1.1\n"
    assert [found[0] for found in summary(dsn(fields.format("a") + fields.format("b")))] == [
        "a@example.org",
        "b@example.org",
    ]


def test_a_missing_address_is_taken_from_elsewhere_and_marked() -> None:
    found = only(dsn("Final-Recipient: rfc822; bob\nAction: failed\nStatus: 5.1.1\n"))
    assert found.evidence.where == "Status + returned To"
    source = dsn(
        "Final-Recipient: rfc822; bob\nAction: failed\nStatus: 5.1.1\n", returned="To: a@example.org, b@example.org"
    )
    assert only(source).recipient == "bob"
    found = only(source.replace("Message-ID", "X-Failed-Recipients: c@example.org\nMessage-ID", 1))
    assert (found.recipient, found.evidence.where) == ("c@example.org", "Status + X-Failed-Recipients")


def test_the_words_of_a_delay_decide_where_the_report_leaves_it_open() -> None:
    source = dsn("Final-Recipient: rfc822; bob@example.org\nStatus: 4.4.1\n", "This is a warning message only.")
    assert verdict(source).kind == Kind.DELAY
    final = dsn("Final-Recipient: rfc822; bob@example.org\nStatus: 4.4.1\n", "Giving up; this is a permanent error.")
    assert verdict(final).kind == Kind.BOUNCE


def test_a_report_that_says_expired_and_failed_is_a_failure() -> None:
    found = summary(
        dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 4.4.7\nDiagnostic-Code: smtp; message expired\n"
        )
    )
    assert found == [("bob@example.org", "bounce", "expired")]


def test_the_fields_are_read_in_a_text_as_well() -> None:
    assert summary(notice("Sorry.\n\nFinal-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\n")) == [
        BOB
    ]


def test_the_newsletter_returned_is_never_matched() -> None:
    source = dsn(
        "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.0.0\n",
        returned="To: bob@example.org\nSubject: your mailbox is over quota spam virus",
    )
    assert summary(source) == [("bob@example.org", "bounce", "undefined")]


def arf(feedback: str, more: str = "", returned: str = "To: bob@example.org") -> str:
    return (
        "From: fbl@provider.example\nTo: abuse@example.com\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\n\nA report.\n'
        f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {feedback}\nVersion: 1\n{more}\n"
        f"--b\nContent-Type: message/rfc822\n\n{returned}\nSubject: News\n\nHi\n--b--\n"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (arf("abuse", "Original-Rcpt-To: <alice@example.org>\n"), [("alice@example.org", "complaint", None)]),
        (
            arf("abuse", "Original-Rcpt-To: a@example.org\nOriginal-Rcpt-To: b@example.org\n"),
            [("a@example.org", "complaint", None), ("b@example.org", "complaint", None)],
        ),
        (arf("abuse", "Original-Rcpt-To: redacted@example.org\n"), [("bob@example.org", "complaint", None)]),
        (arf("opt-out", "Removal-Recipient: carol@example.org\n"), [("carol@example.org", "complaint", None)]),
        (arf("abuse", "", "To: [redacted]@example.org"), [(None, "complaint", None)]),
        (arf("not-spam"), [("bob@example.org", "not_spam", None)]),
        (arf("auth-failure"), []),
    ],
)
def test_feedback_reports(source: str, expected: list[tuple[str | None, str, str | None]]) -> None:
    assert summary(source) == expected


def test_an_authentication_failure_report_is_no_complaint() -> None:
    assert verdict(arf("auth-failure")).kind == Kind.REPORT


def test_a_complaint_of_microsoft_has_no_report_part() -> None:
    source = (
        "From: staff@hotmail.com\nTo: abuse@example.com\nSubject: complaint about message from 192.0.2.1\n"
        'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n'
        "X-HmXmrOriginalRecipient: bob@example.org\nTo: bob@example.org\nSubject: News\n\nHi\n--b--\n"
    )
    assert summary(source) == [("bob@example.org", "complaint", None)]
    assert verdict(source.replace("complaint about message", "look at this message")).kind == Kind.REPLY


def ses(kind: str, name: str, details: Mapping[str, object]) -> str:
    return json.dumps({"notificationType": kind, name: details, "mail": {"destination": ["dest@example.org"]}})


BOUNCED = {
    "bounceType": "Permanent",
    "bounceSubType": "General",
    "bouncedRecipients": [
        {"emailAddress": "bob@example.org", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
    ],
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (ses("Bounce", "bounce", BOUNCED), [BOB]),
        (json.dumps({"Type": "Notification", "Message": ses("Bounce", "bounce", BOUNCED)}), [BOB]),
        (
            notice(
                json.dumps({"Type": "Notification", "Message": ses("Bounce", "bounce", BOUNCED)})
                + "\n\n--\nIf you wish to stop"
            ),
            [BOB],
        ),
        (
            ses(
                "Bounce",
                "bounce",
                {
                    "bounceType": "Permanent",
                    "bounceSubType": "OnAccountSuppressionList",
                    "bouncedRecipients": [{"emailAddress": "bob@example.org"}],
                },
            ),
            [("bob@example.org", "bounce", "suppressed")],
        ),
        (
            ses("Complaint", "complaint", {"complainedRecipients": [{"emailAddress": "bob@example.org"}]}),
            [("bob@example.org", "complaint", None)],
        ),
        (
            ses(
                "Complaint",
                "complaint",
                {"complaintFeedbackType": "not-spam", "complainedRecipients": [{"emailAddress": "bob@example.org"}]},
            ),
            [("bob@example.org", "not_spam", None)],
        ),
        (ses("Delivery", "delivery", {"recipients": ["bob@example.org"]}), [("bob@example.org", "delivered", None)]),
        (
            ses(
                "DeliveryDelay",
                "deliveryDelay",
                {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": "bob@example.org"}]},
            ),
            [("bob@example.org", "delay", "mailbox_full")],
        ),
        (ses("Delivery", "delivery", {}), [("dest@example.org", "delivered", None)]),
        (
            json.dumps(
                [
                    {"event": "bounce", "email": "bob@example.org", "status": "5.1.1", "reason": "550 user unknown"},
                    {"event": "open", "email": "x@example.org"},
                ]
            ),
            [BOB],
        ),
        (
            json.dumps([{"event": "dropped", "email": "bob@example.org", "reason": "Bounced Address"}]),
            [("bob@example.org", "bounce", "suppressed")],
        ),
        (json.dumps([{"event": "spamreport", "email": "bob@example.org"}]), [("bob@example.org", "complaint", None)]),
    ],
)
def test_json_notifications(source: str, expected: list[tuple[str | None, str, str | None]]) -> None:
    assert summary(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{",
        "[1, 2]",
        "{}",
        '{"Type": "Notification", "Message": "x"}',
        '{"Type": "Notification", "Message": "[]"}',
        '{"notificationType": "Bounce", "bounce": 1}',
        "[" * 20_000,
    ],
)
def test_other_json_is_no_notification(source: str) -> None:
    assert verdict(source).findings == ()

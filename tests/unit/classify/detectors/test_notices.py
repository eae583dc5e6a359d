"""Text notices: one short mail for each MTA and provider."""

import pytest

from bouncepoll.model.verdict import Kind
from tests.unit.classify.mails import notice, only, summary, verdict

NOTICES = {
    "postfix": "This is the mail system at host mx.example.net.\n\n<bob@example.org>: host mx.example.org[192.0.2.1] said: 550 5.1.1\n    <bob@example.org>: user unknown (in reply to RCPT TO command)\n",
    "exim": "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  bob@example.org\n    host mx.example.org [192.0.2.1]: 550 user unknown\n",
    "qmail": "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<bob@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n",
    "opensmtpd": "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n    An error has occurred while attempting to deliver a message for\n    the following list of recipients:\n\nbob@example.org: 550 user unknown\n",
    "dragonfly": "This is the DragonFly Mail Agent v0.13 at mx.example.net.\n\nThere was an error delivering your mail to <bob@example.org>.\n\nmx.example.org [192.0.2.1] did not like our RCPT TO:\n550 user unknown\n",
    "google": "Delivery to the following recipient failed permanently:\n\n     bob@example.org\n\nTechnical details of permanent failure:\n550 user unknown\n",
    "exchange": "Delivery has failed to these recipients or groups:\n\nbob@example.org\nThe e-mail address you entered couldn't be found.\n\nDiagnostic information for administrators:\n\nbob@example.org\n#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n",
    "sendmail": "   ----- The following addresses had permanent fatal errors -----\n<bob@example.org>\n    (reason: 550 user unknown)\n\n   ----- Transcript of session follows -----\n550 5.1.1 <bob@example.org>... User unknown\n",
    "notes": "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book\nbob@example.org\n\n------- Returned Message --------\nTo: x@example.org\n",
    "generic": "Your message could not be delivered.\n\nUnknown user: bob@example.org\n",
}


@pytest.mark.parametrize("detector", NOTICES)
def test_a_notice_is_known_and_names_its_recipient(detector: str) -> None:
    found = only(notice(NOTICES[detector]))
    assert (found.recipient, found.kind, found.reason) == ("bob@example.org", Kind.BOUNCE, "user_unknown")
    assert found.evidence.detector == detector


@pytest.mark.parametrize("detector", [name for name in NOTICES if name != "generic"])
def test_a_person_who_quotes_a_notice_stays_a_person(detector: str) -> None:
    source = f"From: Bob <bob@example.org>\nTo: shop@example.com\nSubject: Fwd: what is this?\n\n{NOTICES[detector]}"
    assert verdict(source).kind == Kind.REPLY


def test_a_person_called_postmaster_stays_a_person() -> None:
    source = "From: Postmaster <postmaster@example.org>\nUser-Agent: Mozilla Thunderbird\nSubject: Re: News\nReturn-Path: <postmaster@example.org>\n\nThe user unknown to me could not be delivered.\n"
    assert verdict(source).kind == Kind.REPLY


def test_the_list_of_sendmail_5_is_its_transcript() -> None:
    source = notice(
        "   ----- Transcript of session follows -----\nWhile talking to a.example:\n>>> RCPT To:<a@a.example>\n"
        "<<< 552 mailbox full\n554 <a@a.example>... Service unavailable\n550 b.example (smtp)... 550 Host unknown\n"
        "554 <b@b.example>... 550 Host unknown\n\n   ----- Unsent message follows -----\nTo: a@a.example\n"
    )
    assert summary(source) == [("a@a.example", "bounce", "mailbox_full"), ("b@b.example", "bounce", "host_unknown")]


def test_a_transcript_that_concludes_nothing_names_whom_it_asked() -> None:
    source = notice("   ----- Transcript of session follows -----\n>>> RCPT To:<a@a.example>\n<<< 550 user unknown\n")
    assert summary(source) == [("a@a.example", "bounce", "user_unknown")]


def test_the_transcript_speaks_of_the_only_one_listed() -> None:
    source = notice(
        "   ----- The following addresses had permanent fatal errors -----\na@a.example\n\n   ----- Transcript of session follows -----\n550 mailbox full\n"
    )
    assert summary(source) == [("a@a.example", "bounce", "mailbox_full")]


def test_an_address_inside_a_reply_of_postfix_is_no_recipient() -> None:
    source = notice(
        "This is the mail system at host x.\n\n<bob@example.org>: host y said: 550 5.1.1\n    <bounce@shop.example>: user unknown\n"
    )
    assert [found[0] for found in summary(source)] == ["bob@example.org"]


def test_google_is_known_in_every_language_by_its_sender() -> None:
    source = "From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nX-Failed-Recipients: garden@googlegroups.com\nSubject: Delivery Status Notification (Failure)\n\nPryvit, hrupa https://groups.google.com/support/\n"
    assert summary(source) == [("garden@googlegroups.com", "bounce", "rejected")]
    assert verdict(source.replace("garden@googlegroups.com", "x")).kind != Kind.DELAY


def test_imail_is_known_by_its_program() -> None:
    source = notice(
        "Delivery failed 20 attempts: bob@example.org\n", "Undeliverable Mail", "X-Mailer: <SMTP32 v8.22>\n"
    )
    assert summary(source) == [("bob@example.org", "bounce", "expired")]
    assert only(source).evidence.detector == "imail"
    assert verdict(source.replace("Undeliverable", "Hello")).evidence.detector != "imail"


def test_aol_names_its_users_without_a_domain() -> None:
    source = "From: MAILER-DAEMON@aol.com\nSubject: Mail could not be delivered\n\nYour mail to the following recipients could not be\ndelivered because they are not accepting mail from shop@example.com:\n\n\tbobsgarden\n\tcarol99\n"
    assert summary(source) == [("bobsgarden@aol.com", "bounce", "filtered"), ("carol99@aol.com", "bounce", "filtered")]


def test_fml_refuses_for_its_list() -> None:
    source = "From: garden-admin@example.org\nX-MLServer: fml [fml 4.0.3]\nSubject: You bob@example.com are not member (garden ML)\n\nSorry, you are not a member.\n"
    assert summary(source) == [("garden@example.org", "bounce", "rejected")]
    assert verdict(source.replace("not member", "welcome").replace("not a member", "welcome")).kind != Kind.BOUNCE
    assert verdict(source.replace("-admin", "-list")).kind != Kind.BOUNCE


_LIST = (
    "From: {sender}\nX-Mailman-Version: 2.1.39\n{more}Precedence: bulk\nList-Id: <garden.example.org>\nSubject: {subject}\n\n"
    "The reason: Post by non-member to a members-only list. Is being held until the moderator decides.\n"
)


@pytest.mark.parametrize(
    ("subject", "more", "expected"),
    [
        ("Request to mailing list Garden rejected", "X-BeenThere: garden@example.org\n", ("bounce", "on_hold")),
        ("Your message to Garden awaits moderator approval", "X-BeenThere: garden@example.org\n", ("delay", "on_hold")),
        ("Your message to garden@example.org awaits moderator approval", "", ("delay", "on_hold")),
    ],
)
def test_a_mailing_list_that_does_not_pass_a_mail_on_is_named(
    subject: str, more: str, expected: tuple[str, str]
) -> None:
    source = _LIST.format(sender="garden-bounces+4a5b@example.org", more=more, subject=subject)
    assert summary(source) == [("garden@example.org", *expected)]
    assert only(source).evidence.detector == "lists"


def test_what_else_a_mailing_list_writes_is_bulk() -> None:
    source = _LIST.format(sender="garden-bounces@example.org", more="", subject="Welcome to the Garden list")
    assert verdict(source).kind == Kind.BULK
    refused = _LIST.format(sender="garden@example.org", more="", subject="Request to mailing list Garden rejected")
    assert verdict(refused.replace("X-Mailman-Version", "X-Other")).kind == Kind.BULK


def test_an_address_wrapped_over_two_lines_is_one() -> None:
    source = notice(
        "Your message could not be delivered to:\n\n<a.very.long.name@department.of.widgets.\n example.org>\n\n550 5.1.1 User unknown\n"
    )
    assert summary(source) == [("a.very.long.name@department.of.widgets.example.org", "bounce", "user_unknown")]


def test_exchange_names_the_recipient_in_its_first_sentence() -> None:
    source = notice(
        "Your message to bob@example.org couldn't be delivered.\n\nbob wasn't found at example.org.\n",
        "Undeliverable: News",
    )
    assert summary(source) == [("bob@example.org", "bounce", "user_unknown")]


def test_without_an_address_the_returned_mail_tells() -> None:
    source = notice(
        "Hi. This is the qmail-send program at x.\nPermanent error: user unknown\n\n--- Below this line is a copy of the message.\n\nTo: bob@example.org\n\nHi\n"
    )
    found = only(source)
    assert (found.recipient, found.evidence.where) == ("bob@example.org", "part 1 + returned To")


def test_nobody_is_named_when_it_cannot_be_known() -> None:
    source = notice(
        "Hi. This is the qmail-send program at x.\nPermanent error: user unknown\n\n--- Below this line is a copy of the message.\n\nTo: a@example.org, b@example.org\n\nHi\n"
    )
    assert summary(source) == [(None, "bounce", "user_unknown")]
    source = notice(
        "This message was created automatically by mail delivery software. mailbox full\n",
        more="X-Failed-Recipients: a@example.org, b@example.org\n",
    )
    assert [found[0] for found in summary(source)] == ["a@example.org", "b@example.org"]


DELAYS = [
    "** THIS IS A WARNING MESSAGE ONLY **\n** YOU DO NOT NEED TO RESEND YOUR MESSAGE **\nbob@example.org\n",
    "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue.\n\n  bob@example.org\n",
    "Die Zustellung Ihrer Nachricht an bob@example.org verzögert sich.\n",
    "La remise est retardée pour bob@example.org\n",
    "Il messaggio non è ancora stato recapitato: bob@example.org\n",
    "La entrega se ha retrasado para bob@example.org\n",
    "Доставка вашего сообщения отложена: bob@example.org\n",
    "邮件投递延迟，系统将继续尝试。 bob@example.org\n",
]


@pytest.mark.parametrize("body", DELAYS)
def test_a_warning_is_a_delay_and_never_a_bounce(body: str) -> None:
    assert [found[:2] for found in summary(notice(body, "Warning"))] == [("bob@example.org", "delay")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("Ihre Nachricht konnte nicht zugestellt werden: bob@example.org\nDas Postfach ist voll.\n", "mailbox_full"),
        ("Votre message n'a pas pu être remis à bob@example.org\nDestinataire inconnu.\n", "user_unknown"),
        ("No se pudo entregar el mensaje a bob@example.org\nEl usuario no existe\n", "user_unknown"),
        ("Non è stato possibile recapitare il messaggio a bob@example.org\nCasella piena\n", "mailbox_full"),
        ("A mensagem não pôde ser entregue a bob@example.org\nUsuário desconhecido\n", "user_unknown"),
        ("Uw bericht kan niet worden bezorgd aan bob@example.org\nGebruiker onbekend\n", "user_unknown"),
        ("Nie można było dostarczyć wiadomości do bob@example.org\nUżytkownik nie istnieje\n", "user_unknown"),
        ("Ваше письмо не может быть доставлено: bob@example.org\nПользователь не найден\n", "user_unknown"),
        ("İletiniz bob@example.org adresine teslim edilemedi.\nAlıcı bulunamadı\n", "user_unknown"),
        ("Meddelandet kunde inte levereras till bob@example.org\nMottagaren är okänd\n", "user_unknown"),
        (
            "次のあて先へのメッセージは送信できませんでした。\n\nbob@example.org\n\nメールボックスの容量を超えています\n",
            "mailbox_full",
        ),
        ("您的邮件被退回来了\n\nbob@example.org\n\n收件人不存在\n", "user_unknown"),
        ("메일 전송에 실패하였습니다.\n\nbob@example.org\n\n존재하지 않는 사용자입니다\n", "user_unknown"),
    ],
)
def test_notices_in_other_languages(body: str, reason: str) -> None:
    assert summary(notice(body)) == [("bob@example.org", "bounce", reason)]


def test_a_notice_is_known_by_the_subject_its_mta_writes() -> None:
    source = "From: Robot <robot@example.net>\nSubject: {}Undelivered Mail Returned to Sender\n\nbob@example.org: user unknown\n"
    assert summary(source.format("")) == [("bob@example.org", "bounce", "user_unknown")]
    assert verdict(source.format("Fwd: ")).kind == Kind.REPLY


def test_the_reason_of_google_groups_is_not_its_advice() -> None:
    body = "Your email to group garden@example.org was rejected due to spam classification.\nMake sure SPF and DKIM checks pass.\n"
    assert summary(notice(body, more="X-Failed-Recipients: garden@example.org\n")) == [
        ("garden@example.org", "bounce", "spam_detected")
    ]

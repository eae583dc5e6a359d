"""Challenges, receipts, reports of domains, opt-outs and bulk mail."""

import pytest

from tests.unit.classify.auto.mails import SENDER, kind, message, multipart, shown, verdict

_HUMAN = "Content-Type: text/plain\n\nThis is a receipt.\n"


def _disposition(value: str, content_type: str = "message/disposition-notification") -> str:
    fields = f"Reporting-UA: pc.example.net\nFinal-Recipient: rfc822;bob@example.net\nDisposition: {value}\n"
    return f"Content-Type: {content_type}\n\n{fields}"


@pytest.mark.parametrize(
    "disposition",
    [
        "manual-action/MDN-sent-manually; displayed",
        "automatic-action/MDN-sent-automatically; deleted",
        "automatic-action/MDN-sent-automatically; denied",
        "automatic-action/MDN-sent-automatically; dispatched",
        "automatic-action/MDN-sent-automatically; processed",
        "manual-action/MDN-sent-manually; failed/error",
    ],
)
def test_each_disposition_is_a_receipt_and_never_a_bounce(disposition: str) -> None:
    found = shown(
        multipart("multipart/report; report-type=disposition-notification", _HUMAN, _disposition(disposition))
    )
    assert found["kind"] == "receipt"
    assert [(f["recipient"], f["kind"], f["reason"], f["severity"]) for f in found["findings"]] == [
        ("bob@example.net", "receipt", None, None)
    ]
    assert found["findings"][0]["evidence"]["matched_text"] == disposition


def test_a_receipt_under_another_type_or_without_its_fields_is_one_still() -> None:
    other = _disposition("manual-action/MDN-sent-manually; displayed", "text/plain")
    assert kind(multipart("multipart/mixed", _HUMAN, other)) == "receipt"
    assert kind(multipart("multipart/report; report-type=disposition-notification", _HUMAN)) == "receipt"


def test_a_receipt_inside_a_forwarded_mail_is_no_receipt() -> None:
    inner = f"Content-Type: message/rfc822\n\nFrom: bob@example.net\n{_disposition('manual-action/MDN-sent-manually; displayed')}"
    assert kind(multipart("multipart/mixed", "Content-Type: text/plain\n\nLook, Ada\n", inner)) == "reply"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (
            "Read: Garden",
            "Your message\n\nTo: Bob\nSubject: Garden\nSent: 12 May 2026\n\nwas read on 12 May 2026 10:00:00.",
        ),
        (
            "Not read: Garden",
            "Your message\n\nTo: Bob\nSubject: Garden\n\nwas deleted without being read on 12 May 2026.",
        ),
        ("Gelesen: Garten", "Ihre Nachricht\n\nAn: Bob\nBetreff: Garten\n\nwurde am 12.05.2026 gelesen."),
        ("Lu : Jardin", "Votre message\n\nÀ : Bob\nObjet : Jardin\n\na été lu le 12/05/2026."),
        ("Leído: Jardín", "Su mensaje\n\nPara: Bob\nAsunto: Jardín\n\nfue leído el 12/05/2026."),
        ("Letto: Giardino", "Il messaggio\n\nA: Bob\n\nè stato letto in data 12/05/2026."),
        ("Gelezen: Tuin", "Uw bericht\n\nAan: Bob\n\nis gelezen op 12-5-2026."),
        ("Прочтено: Сад", "Ваше сообщение\n\nКому: Bob\n\nпрочитано 12.05.2026."),
        ("Return Receipt", "Your document: Garden was received by: Bob/Example at: 12.05.2026"),
    ],
)
def test_receipts_in_words_are_known_by_subject_and_text_together(subject: str, text: str) -> None:
    assert kind(message(text, subject)) == "receipt"
    assert kind(message(text, "Something else")) == "reply"
    assert kind(message("Dear all, a fine book.", subject)) == "reply"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('Hello,\nYour message about "Garden" was waitlisted.', "boxbe"),
        (
            "bob@example.org is protecting themselves from receiving junk mail. Just this once, click the link below.",
            "spamarrest",
        ),
        (
            "I apologize for this automatic reply to your email. To control spam, I now allow incoming messages only from senders I have approved beforehand.",
            "earthlink",
        ),
        (
            "Your message attached below is being held because the address <ada@example.net> has not been verified.",
            "tmda",
        ),
        ("Hi. This is the qconfirm mail-handling program. Please confirm.", "qconfirm"),
        ("This mailbox is protected by the Active Spam Killer.", "ask"),
        ("This account is protected by Bluebottle. Please click on the following link.", "bluebottle"),
        ("Bonjour, pour que votre message me parvienne, merci de cliquer sur ce lien Mailinblack.", "mailinblack"),
        ("ANTISPAM UOL - TIRA-TEIMA. Clique aqui.", "uol"),
        (
            "The message you sent requires that you verify that you are a real live human being and not a spam source.",
            "sendio",
        ),
        ("Your message is being held. Please click on this link to confirm that you sent it.", "any"),
        ("Zum Schutz vor Spam wird Ihre Mail zurückgehalten. Bitte klicken Sie hier, um sie freizugeben.", "any"),
    ],
)
def test_challenges_are_known_by_their_words(text: str, rule: str) -> None:
    found = verdict(message(text, "Re: Garden", Precedence="bulk"))
    assert found.kind == "challenge"
    assert (found.evidence.rule_id or "").startswith(f"challenge.{rule}.")
    assert found.findings[0].recipient == SENDER
    assert kind(message(text, "Fwd: Garden")) != "challenge"


def test_challenges_are_known_by_their_fields_and_their_subject() -> None:
    assert kind(message("Hello", "Re: Garden", X_TMDA_Confirm="1")) == "challenge"
    assert kind(message("Please confirm.", "Please confirm (conf#0123456789abcdef)")) == "challenge"


def test_boxbe_asks_in_the_form_of_a_delivery_report() -> None:
    def report(host: str) -> str:
        return f"Content-Type: message/delivery-status\n\nReporting-MTA: dns;{host}\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\nStatus: 5.7.1\n"

    report_type = "multipart/report; report-type=delivery-status"
    text = "Content-Type: text/plain\n\nPlease confirm that you are a person.\n"
    assert kind(multipart(report_type, text, report("mx.boxbe.example"))) == "challenge"
    assert kind(multipart(report_type, text, report("mx.example.org"))) == "bounce"


@pytest.mark.parametrize(
    "part",
    [
        'Content-Type: application/gzip\nContent-Disposition: attachment; filename="mx.example!example.org!1778544000!1778630400.xml.gz"\n\nx\n',
        'Content-Type: application/zip; name="mx.example!example.org!1778544000!1778630400!4711.zip"\n\nx\n',
        "Content-Type: application/tlsrpt+gzip\n\nx\n",
        'Content-Type: application/gzip; name="mx.example!example.org!1778544000!1778630400!001.json.gz"\n\nx\n',
        'Content-Type: application/zip; name="dmarc_report_example.org.zip"\n\nx\n',
        'Content-Type: text/xml\n\n<?xml version="1.0"?>\n<feedback>\n <report_metadata></report_metadata></feedback>\n',
    ],
)
def test_aggregate_reports_are_known_by_their_attachment(part: str) -> None:
    found = verdict(multipart("multipart/mixed", "Content-Type: text/plain\n\nHello\n", part, subject="Today"))
    assert (found.kind, found.findings) == ("report", ())


@pytest.mark.parametrize(
    ("subject", "text", "fields"),
    [
        ("Report Domain: example.org Submitter: mx.example Report-ID: <1@mx.example>", "", {}),
        ("[Preview] Report Domain: example.org Submitter: mx.example Report-ID: 1", "", {}),
        ("Report domain: example.org; Submitter: mx.example", "", {}),
        ("Weekly", "", {"TLS_Report_Domain": "example.org"}),
        ("Weekly", "This is an authentication failure report for an email message received from IP 192.0.2.1.", {}),
        ("Weekly", "This is a SPF/DKIM authentication-failure report for a mail.", {}),
        ("DMARC failure report for example.org", "See below.", {}),
    ],
)
def test_reports_of_domains_are_known_by_subject_field_or_first_words(
    subject: str, text: str, fields: dict[str, str]
) -> None:
    assert kind(message(text, subject, **fields)) == "report"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("unsubscribe", ""),
        ("Unsubscribe", "unsubscribe"),
        ("unsubscribe 4711-abc@list", ""),
        ("Please unsubscribe me", "Ada"),
        ("Re: Spring list", "Please remove me from your mailing list. Thanks!"),
        ("Re: Spring list", "UNSUBSCRIBE"),
        ("Abmeldung vom Newsletter", ""),
        ("AW: Frühling", "Bitte nehmen Sie mich aus dem Verteiler."),
        ("Désinscription", ""),
        ("Cancellazione dalla newsletter", ""),
        ("Baja", ""),
        ("Descadastrar", ""),
        ("Afmelden nieuwsbrief", ""),
        ("отписаться от рассылки", ""),
        ("配信停止希望", ""),
        ("退订", ""),
    ],
)
def test_opt_outs_are_known_by_subject_or_by_a_text_that_says_nothing_else(subject: str, text: str) -> None:
    found = verdict(message(text, subject))
    assert (found.kind, found.findings[0].recipient) == ("unsubscribe", SENDER)


def test_the_button_of_apple_mail_opts_out_although_it_calls_its_mail_an_automatic_reply() -> None:
    found = verdict(message("Hi", "", Auto_Submitted="auto-replied", X_Apple_Unsubscribe="true"))
    assert (found.kind, found.findings[0].recipient) == ("unsubscribe", SENDER)
    assert found.evidence.where == "X-Apple-Unsubscribe"
    assert kind(message("Hi", "", Auto_Submitted="auto-replied", X_Apple_Unsubscribe="no")) == "auto_reply"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Your message is waiting. Please confirm that you are a real person: https://filter.example/c", "challenge"),
        ("Your message was held. Can you confirm that you are a real person?", "reply"),
        ("Please confirm that you are a real person, I do not write to machines.", "reply"),
        ("Your message was held by my spam filter. Please send it again.", "reply"),
        ("I saw a new sender in the letter. Please prove to me that a person writes it.", "reply"),
    ],
)
def test_only_a_program_that_held_a_mail_wants_a_proof(text: str, expected: str) -> None:
    assert kind(message(text, "Your letter")) == expected


def test_programs_lists_and_mail_systems_never_opt_out() -> None:
    assert kind(message("", "unsubscribe", Auto_Submitted="auto-replied")) == "auto_reply"
    assert kind(message("", "unsubscribe", List_Id="<team.example.org>")) == "bulk"
    assert kind(message("", "unsubscribe", From="MAILER-DAEMON@example.net")) != "unsubscribe"
    assert kind(message("x" * 2000, "unsubscribe")) == "reply"
    assert kind(message("Ada", "unsubscribe", From=None)) != "unsubscribe"


@pytest.mark.parametrize(
    "fields",
    [
        {"List_Id": "<garden.example.org>"},
        {"List_Unsubscribe": "<https://example.org/u>"},
        {"Feedback_ID": "1:garden"},
        {"Precedence": "bulk"},
        {"Precedence": "list"},
        {"X_Campaign": "spring"},
        {"Mailing_List": "contact garden-help@example.org; run by ezmlm"},
    ],
)
def test_lists_and_newsletters_are_bulk(fields: dict[str, str]) -> None:
    assert kind(message("New tulips this week.", "Spring list", **fields)) == "bulk"


@pytest.mark.parametrize(
    "text",
    [
        "New tulips.\n\nYou are receiving this e-mail because you signed up at example.org.",
        "New tulips.\n\nTo unsubscribe from this newsletter, please visit example.org.",
        "Neue Tulpen.\n\nSie erhalten diese E-Mail, weil Sie sich angemeldet haben.",
        "Tulipes.\n\nVous recevez ce message car vous êtes inscrit.",
        "Tulipanes.\n\nHa recibido este correo porque se ha suscrito.",
        "Tulipas.\n\nPara deixar de receber, clique aqui.",
    ],
)
def test_a_newsletter_without_list_fields_is_known_by_its_foot(text: str) -> None:
    assert kind(message(text, "Spring list")) == "bulk"


def test_what_a_mail_system_sends_is_no_bulk_mail() -> None:
    assert kind(message("Something odd.", "Note", From="MAILER-DAEMON@example.net", Precedence="bulk")) != "bulk"

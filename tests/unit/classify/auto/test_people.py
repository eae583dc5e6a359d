"""People stay people: mails that look like automatic replies, bounces, receipts, opt-outs or lists, and are none."""

import pytest

from tests.unit.classify.auto.mails import kind, message, multipart

_BOUNCE = (
    "> This is the mail system at host mx.example.org.\n> <bob@example.org>: user unknown\n> Please do not reply.\n"
)
_OUT = "> I am out of the office until 12 May 2026.\n> In urgent cases please contact Bob.\n"

SUBJECTS = (
    "Re: Vacation deals",
    "Vacation deals for two",
    "Re: Free delivery on all orders",
    "Free delivery",
    "Re: Delivery failed us again",
    "Out of office furniture",
    "Out of office furniture: our catalogue",
    "Automatic reply machine for sale",
    "Automatic replies at our shop, how do you do it",
    "Re: Automatic reply: your spring list",
    "RE: Out of Office: your spring list",
    "AW: Abwesenheitsnotiz: Frühlingsliste",
    "Fwd: Automatic reply: spring list",
    "WG: Automatische Antwort: Frühlingsliste",
    "Urlaub",
    "Urlaub auf Rügen",
    "Im Urlaub lesen wir gern",
    "Abwesenheit der Rosen im Katalog",
    "Vacances en Bretagne",
    "Absence de réponse",
    "Vacaciones en la costa",
    "Ferie in Toscana",
    "Vakantie aan zee",
    "Urlop nad morzem",
    "Отпуск на море",
    "Dovolená u moře",
    "Semester i Skåne",
    "Holiday homes",
    "On holiday with your catalogue",
    "Auto: zu verkaufen",
    "Auto reply needed to my order",
    "Autos und Motoren",
    "Read: the book you sent",
    "Gelesen: Ihr neues Buch",
    "Lu: votre dernière lettre",
    "Return receipt for order 4711",
    "Unsubscribe button is broken",
    "How do I unsubscribe my neighbour",
    "Re: unsubscribe",
    "Abmeldung vom Kurs am Freitag und Anmeldung für den Samstag",
    "Baja temporada en la playa",
    "Report Domain owners meeting",
    "Report on domains",
    "DMARC reporting for beginners",
    "Please confirm my order",
    "Confirm our dinner",
    "Ticket for the garden show",
    "Tickets received, thank you",
    "Your request for a picture",
    "不在の間のお礼",
    "自动回复机怎么买",
)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_that_only_sounds_like_it_is_a_persons(subject: str) -> None:
    assert kind(message("Dear garden team,\n\nthank you for the roses, they are lovely.\n\nAda", subject)) == "reply"


TEXTS = {
    "asks about a bounce": f"Hello,\n\nI got this from your server. What does it mean?\n\n{_BOUNCE}",
    "quotes a bounce without a question": f"Hello,\n\nsee below, it did not work again.\n\n{_BOUNCE}\nAda",
    "writes that a mail came back": "Hello, my mail to bob@example.org came back as undeliverable (550 user unknown). Please correct the address.",
    "answers an absence": f"Hi Bob,\n\nenjoy your holidays, we talk in June.\n\nOn 3 May 2026 Bob wrote:\n{_OUT}",
    "quotes an absence in Outlook's form": f"Enjoy.\n\n-----Original Message-----\nFrom: Bob\n{_OUT.replace('> ', '')}",
    "quotes an absence in the German form": f"Schöne Tage.\n\nAm 3. Mai 2026 schrieb Bob:\n{_OUT.replace('> ', '')}",
    "mentions holidays in the middle": "Dear team,\n\nthe roses arrived. By the way I am on vacation until 12 May, so please contact my neighbour for the tulips.",
    "asks while away": "I am on vacation until 12 May 2026. Could you send the tulips later?",
    "is away and says no more": "I am away.",
    "tells of an office": "Our office is closed to dogs. Please contact your vet.",
    "tells in German of holidays": "Liebes Team,\n\ndie Rosen sind da. Im Mai bin ich im Urlaub, bitte liefern Sie vorher an den Nachbarn.",
    "tells in French of holidays": "Bonjour,\n\nLes roses sont belles. Je suis en vacances jusqu'au 12 mai, merci de contacter ma voisine pour la livraison.",
    "tells in Spanish of holidays": "Hola:\n\nLas rosas son bonitas. Estoy de vacaciones hasta el 12 de mayo, contacte con mi vecina.",
    "tells in Russian of holidays": "Добрый день!\n\nРозы прекрасны. Я в отпуске до 12 мая, обращайтесь к соседке.",
    "left the company": "I have left the company, please change my address to ada@example.org.",
    "writes of automatic replies": "Your automatic reply tells nothing. Please answer me.",
    "complains about a challenge": "I will not click on any link to confirm that I am a person. Please remove the filter.",
    "forwards a challenge": "> Your message is being held.\n> Please reply to this message to confirm that a person wrote it.\n",
    "wants off the list, with a reason": "Hello, please unsubscribe me from the list, but keep the order of 12 May and send the invoice to my office. Thanks!",
    "writes about a read message": "Your message was a pleasure and I read it on Sunday.",
    "writes about DMARC": "Hello, this is a DMARC aggregate of questions I have. Your report never came.",
    "thanks for an answer": "Thank you, I received your message and will call you on Monday.",
    "is out on one day": "Thanks for the newsletter! I'm out on Friday, contact me next week.",
    "has no time for a survey": "Hello, I will not be able to answer the survey until Friday.",
    "cannot read the letters": "I can't read your mail, the letters are tiny. Please use bigger ones.",
    "gives no interview": "We are not available for an interview. Please contact our press office.",
    "does not read German": "I do not read German. Please contact me in English.",
    "cannot reply to a form": "I can not reply to the form by May. Please send it again.",
    "loved the mail": "Hi, your email was received and we love it!",
    "wants a parcel later": "Ich bin bis Freitag im Urlaub, bitte liefern Sie erst danach.",
    "wants an order changed": "I am on vacation until Friday, so please change my order to 12 May.",
    "wants an order later in French": "Bonjour, je suis en vacances jusqu'au 12 mai, gardez ma commande au magasin.",
    "goes out": "I am out. Please remove me.",
    "is angry": "We will not respond to spam. Stop it immediately.",
    "is out of town": "I am out of town until Monday. I'd love to meet your team after that, let's say Tuesday at noon.",
    "writes in HTML of holidays": "Roses! And I am on vacation until May, please contact Bob.",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_only_sounds_like_it_is_a_persons(text: str) -> None:
    assert kind(message(text, "Your spring list")) == "reply"


@pytest.mark.parametrize(
    "sender", ["postmaster@example.net", "mailer-daemon@example.net", "support@example.net", "noreply-fan@example.net"]
)
def test_the_name_of_an_account_makes_nobody_a_machine(sender: str) -> None:
    assert (
        kind(message("Dear team, could you call me about the roses? Ada", "Roses", From=f"Ada Example <{sender}>"))
        == "reply"
    )


def test_a_person_who_forwards_a_bounce_as_an_attachment_stays_a_person() -> None:
    report = "Content-Type: message/rfc822\n\nFrom: MAILER-DAEMON@example.org\nSubject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\n\n<bob@example.org>: user unknown\n"
    assert (
        kind(
            multipart(
                "multipart/mixed",
                "Content-Type: text/plain\n\nLook at this, please.\n",
                report,
                subject="Fwd: Undelivered",
            )
        )
        == "reply"
    )


def test_a_person_who_attaches_a_file_to_a_note_about_an_absence_stays_a_person() -> None:
    note = "Content-Type: text/plain\n\nI am out of the office until 12 May 2026, please contact Bob. The plan is attached.\n"
    plan = (
        'Content-Type: application/pdf; name="plan.pdf"\nContent-Disposition: attachment; filename="plan.pdf"\n\n%PDF\n'
    )
    assert kind(multipart("multipart/mixed", note, plan, subject="The plan")) == "reply"


@pytest.mark.parametrize(
    "fields",
    [
        {"List_Id": "<team.example.org>", "In_Reply_To": "<1@example.org>"},
        {"List_Id": "<team.example.org>", "References": "<1@example.org>"},
        {"Precedence": "list", "List_Post": "<mailto:team@example.org>", "Subject": "Re: [Team] news"},
        {"Precedence": "list", "List_Unsubscribe": "<mailto:team-leave@example.org>", "Subject": "Antwort: news"},
        {"X_Google_Group_Id": "4711", "List_Id": "<team.example.org>", "Precedence": "list"},
    ],
)
def test_an_answer_that_came_through_a_group_address_is_a_persons(fields: dict[str, str]) -> None:
    assert kind(message("Dear team, the roses are lovely.", **fields)) == "reply"


def test_a_person_who_quotes_a_newsletter_with_its_footer_is_no_newsletter() -> None:
    footer = "> You are receiving this e-mail because you signed up at example.org.\n> To unsubscribe, please visit example.org.\n"
    assert kind(message(f"Lovely!\n\n{footer}", "Spring list")) == "reply"
    assert kind(message(f"Lovely!\n\n{footer.replace('> ', '')}", "Re: Spring list")) == "reply"


def test_x_auto_response_suppress_and_x_mailer_are_no_signs() -> None:
    assert (
        kind(message("Hello there.", "Re: news", X_Auto_Response_Suppress="All", X_Mailer="Autoresponder Pro fan"))
        == "reply"
    )


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Absence", "Bonjour, je serai absent du bureau lundi. Pouvez-vous me livrer mardi ?"),
        ("I will be away next week", "So please ship my order to my home address."),
        ("Out of town", "I will be out of town until Monday. Please send me the parcel on Tuesday."),
        ("Abwesend", "Ich bin nicht da. Wann kommt das Paket?"),
    ],
)
def test_who_is_away_and_wants_something_is_a_person(subject: str, text: str) -> None:
    assert kind(message(text, subject)) == "reply"


def test_a_program_may_ask_behind_the_subject_it_answers() -> None:
    mail = message("I am away until 12 May 2026. Is it urgent? Please call my office.", "Out of office: Spring list")
    assert kind(mail) == "vacation"


def test_a_mailing_that_speaks_of_an_absence_is_bulk() -> None:
    fields = {"List_Unsubscribe": "<https://travel.example/u>", "X_CampaignID": "2026-44"}
    assert kind(message("I am out of the office - are you?", "Out of office: vacation deals", **fields)) == "bulk"
    assert (
        kind(message("-", "Out of office: vacation deals", List_Unsubscribe="<https://travel.example/u>")) == "vacation"
    )


def test_a_ticket_answered_by_a_person_stays_a_reply() -> None:
    text = "It still does not work. Thanks for your email all the same."
    assert kind(message(text, "Re: [Ticket#2026051210000017] Your request")) == "reply"

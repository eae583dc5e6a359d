"""Automatic replies in thirty languages: subjects, absences with a last day, and answers by programs, all invented."""

from typing import NamedTuple


class Language(NamedTuple):
    """The prefix of Exchange, the subject of an absence, an absence until 12 May 2026, an answer by a program."""

    code: str
    prefix: str
    subject: str
    absence: str
    answer: str


LANGUAGES = (
    Language(
        "en",
        "Automatic reply",
        "Out of Office AutoReply: Spring list",
        "Hi,\n\nI am currently out of the office and will return on 13 May 2026. For urgent matters please contact Bob.",
        "Thank you for contacting us. This is an automatic response: your message has arrived.",
    ),
    Language(
        "de",
        "Automatische Antwort",
        "Abwesend: Frühlingsliste",
        "Sehr geehrte Damen und Herren,\n\nich bin ab dem 13. Mai 2026 wieder im Büro. In dringenden Fällen wenden Sie sich bitte an meine Vertretung.",
        "Guten Tag,\n\ndiese E-Mail wurde automatisch erstellt. Wir melden uns bald.",
    ),
    Language(
        "fr",
        "Réponse automatique",
        "Absence du bureau : Liste",
        "Bonjour,\n\nJe suis en congés du 1er au 12 mai 2026 inclus. En cas d'urgence, merci de contacter l'accueil.",
        "Bonjour,\n\nVotre message a bien été reçu, nous vous répondrons rapidement.",
    ),
    Language(
        "es",
        "Respuesta automática",
        "Fuera de la oficina: Lista",
        "Buenos días:\n\nEstaré de vacaciones hasta el 12 de mayo de 2026. Para asuntos urgentes contacte con recepción.",
        "Estimada señora:\n\nHemos recibido su mensaje y le contestaremos pronto.",
    ),
    Language(
        "it",
        "Risposta automatica",
        "Fuori ufficio: Lista",
        "Buongiorno,\nsarò in ferie fino al 12 maggio 2026. Per urgenze contattare la segreteria.",
        "Salve,\nla sua richiesta è stata presa in carico.",
    ),
    Language(
        "pt",
        "Resposta automática",
        "Ausência temporária: Lista",
        "Olá,\n\nEncontro-me de férias até 12 de maio de 2026. Em caso de urgência contacte a receção.",
        "Prezado senhor,\n\nRecebemos sua mensagem e responderemos em breve.",
    ),
    Language(
        "pt-BR",
        "Resposta automática",
        "Fora do escritório: Lista",
        "Bom dia, obrigado pelo contato. Estou em férias até 12 de maio de 2026. Em caso de urgência, entre em contato com a recepção.",
        "Olá,\n\nEsta é uma mensagem automática, não é preciso responder.",
    ),
    Language(
        "nl",
        "Automatisch antwoord",
        "Niet aanwezig: Lijst",
        "Geachte heer/mevrouw,\n\nIk ben met vakantie tot en met 12 mei 2026. Voor dringende zaken kunt u contact opnemen met de receptie.",
        "Beste,\n\nWij hebben uw bericht in goede orde ontvangen.",
    ),
    Language(
        "pl",
        "Automatyczna odpowiedź",
        "Poza biurem: Lista",
        "Dzień dobry,\n\njestem na urlopie do 12 maja 2026. W pilnych sprawach proszę o kontakt z sekretariatem.",
        "Szanowni Państwo,\n\nta wiadomość została wygenerowana automatycznie.",
    ),
    Language(
        "ru",
        "Автоматический ответ",
        "Вне офиса: Список",
        "Добрый день!\n\nЯ в отпуске до 12 мая 2026 г. По срочным вопросам обращайтесь к коллегам.",
        "Здравствуйте!\n\nВаше письмо получено. Мы ответим позже.",
    ),
    Language(
        "uk",
        "Автоматична відповідь",
        "Поза офісом: Список",
        "Доброго дня!\n\nЯ у відпустці до 12 травня 2026 року. З термінових питань звертайтеся до колег.",
        "Вітаю!\n\nЦе автоматична відповідь.",
    ),
    Language(
        "tr",
        "Otomatik yanıt",
        "Ofis dışındayım: Liste",
        "Merhaba,\n\nYıllık izindeyim, 12 Mayıs 2026 tarihine kadar dönmeyeceğim. Acil durumlarda santrali arayın.",
        "Merhaba,\n\nMesajınız tarafımıza ulaşmıştır.",
    ),
    Language(
        "sv",
        "Automatiskt svar",
        "Frånvaromeddelande: Lista",
        "Hej!\n\nJag är ledig till och med 12 maj 2026. Vid brådskande ärenden kontakta växeln.",
        "Hej!\n\nVi har tagit emot ditt mejl.",
    ),
    Language(
        "no",
        "Automatisk svar",
        "Ikke på kontoret: Liste",
        "Hei,\n\njeg er på ferie til og med 12. mai 2026. Kontakt sentralbordet hvis det haster.",
        "Hei,\n\nvi har mottatt din henvendelse.",
    ),
    Language(
        "da",
        "Autosvar",
        "Ikke til stede: Liste",
        "Kære afsender,\n\njeg er på ferie indtil 12. maj 2026. Kontakt receptionen, hvis det haster.",
        "Hej,\n\nvi har modtaget din henvendelse.",
    ),
    Language(
        "fi",
        "Automaattinen vastaus",
        "Poissa toimistosta: Lista",
        "Hei,\n\nolen kesälomalla 12.5.2026 saakka. Kiireellisissä asioissa ota yhteyttä vaihteeseen.",
        "Hei!\n\nViestisi on vastaanotettu.",
    ),
    Language(
        "cs",
        "Automatická odpověď",
        "Nepřítomnost: Seznam",
        "Dobrý den,\n\njsem na dovolené do 12. května 2026. V naléhavých případech kontaktujte recepci.",
        "Dobrý den,\n\nVáš požadavek byl zaregistrován.",
    ),
    Language(
        "sk",
        "Automatická odpoveď",
        "Neprítomnosť: Zoznam",
        "Dobrý deň,\n\nsom na dovolenke do 12. mája 2026. V naliehavých prípadoch kontaktujte recepciu.",
        "Dobrý deň,\n\nVaša správa bola prijatá.",
    ),
    Language(
        "hu",
        "Automatikus válasz",
        "Irodán kívül: Lista",
        "Tisztelt Partnerünk!\n\n2026. május 12-ig szabadságon vagyok. Sürgős esetben keresse a titkárságot.",
        "Tisztelt Ügyfelünk!\n\nEz egy automatikus üzenet.",
    ),
    Language(
        "ro",
        "Răspuns automat",
        "În afara biroului: Listă",
        "Bună ziua,\n\nSunt în concediu până la 12 mai 2026. Pentru urgențe contactați recepția.",
        "Bună ziua,\n\nMesajul dumneavoastră a fost primit.",
    ),
    Language(
        "bg",
        "Автоматичен отговор",
        "Извън офиса: Списък",
        "Здравейте,\n\nв момента съм в отпуск до 12 май 2026 г. При спешни случаи се обърнете към рецепцията.",
        "Здравейте,\n\nвашето съобщение е получено.",
    ),
    Language(
        "el",
        "Αυτόματη απάντηση",
        "Εκτός γραφείου: Λίστα",
        "Καλημέρα σας,\n\nείμαι σε άδεια μέχρι 12 Μαΐου 2026. Για επείγοντα επικοινωνήστε με τη γραμματεία.",
        "Καλημέρα σας,\n\nτο μήνυμά σας ελήφθη.",
    ),
    Language(
        "hr",
        "Automatski odgovor",
        "Izvan ureda: Popis",
        "Poštovani,\n\nnalazim se na godišnjem odmoru do 12. svibnja 2026. Za hitne slučajeve obratite se tajništvu.",
        "Poštovani,\n\nvaš upit je zaprimljen.",
    ),
    Language(
        "sr",
        "Automatski odgovor",
        "Van kancelarije: Spisak",
        "Poštovani,\n\nna godišnjem odmoru sam do 12. maja 2026. Za hitne slučajeve obratite se sekretarijatu.",
        "Poštovani,\n\nova poruka je automatski poslata.",
    ),
    Language(
        "sl",
        "Samodejni odgovor",
        "Odsotnost: Seznam",
        "Pozdravljeni,\n\nsem na dopustu do 12. maja 2026. V nujnih primerih se obrnite na tajništvo.",
        "Pozdravljeni,\n\nvaš zahtevek je bil zabeležen.",
    ),
    Language(
        "lt",
        "Automatinis atsakymas",
        "Ne biure: Sąrašas",
        "Laba diena,\n\nšiuo metu atostogauju iki 2026-05-12. Skubiais klausimais kreipkitės į sekretoriatą.",
        "Laba diena,\n\njūsų laiškas gautas.",
    ),
    Language(
        "lv",
        "Automātiskā atbilde",
        "Ārpus biroja: Saraksts",
        "Labdien,\n\nesmu atvaļinājumā līdz 12.05.2026. Steidzamos gadījumos lūdzu sazinieties ar biroju.",
        "Labdien,\n\nšī ir automātiska atbilde.",
    ),
    Language(
        "et",
        "Automaatvastus",
        "Kontorist väljas: Nimekiri",
        "Tere!\n\nOlen puhkusel kuni 12.05.2026. Kiiretes asjades pöörduge sekretäri poole.",
        "Tere!\n\nSee on automaatne vastus.",
    ),
    Language(
        "ja",
        "自動応答",
        "不在通知: 一覧",
        "お世話になっております。\n\n2026年5月12日まで休暇をいただいております。お急ぎの場合は代表番号までご連絡ください。",
        "このメールはシステムより自動的に送信しています。",
    ),
    Language(
        "zh-CN",
        "自动答复",
        "不在办公室: 清单",
        "您好！\n\n我正在休假，2026年5月12日返回。如有急事请联系前台。",
        "您好，您的邮件我已收到，谢谢。",
    ),
    Language(
        "zh-TW",
        "自動回覆",
        "不在辦公室: 清單",
        "您好！\n\n我目前休假，2026年5月12日返回。如有急事請聯絡總機。",
        "您好，這是系統自動回覆的郵件。",
    ),
    Language(
        "ko",
        "자동 회신",
        "부재중: 목록",
        "안녕하세요.\n\n2026년 5월 12일까지 휴가 중입니다. 급한 용건은 대표번호로 연락 바랍니다.",
        "안녕하세요.\n\n보내주신 메일이 정상적으로 접수되었습니다.",
    ),
    Language(
        "ar",
        "رد تلقائي",
        "خارج المكتب: قائمة",
        "السلام عليكم،\n\nأنا في إجازة حتى 12 مايو 2026. في الحالات العاجلة يرجى التواصل مع الاستقبال.",
        "مرحبا،\n\nلقد تم استلام رسالتكم.",
    ),
    Language(
        "he",
        "תשובה אוטומטית",
        "מחוץ למשרד: רשימה",
        "שלום,\n\nאני בחופשה עד 12 במאי 2026. בדחיפות ניתן לפנות למזכירות.",
        "שלום רב,\n\nפנייתך התקבלה ותטופל.",
    ),
)

"""What mends a refusal, told by the server's own words: data, one entry a wording, the first that fits wins.

An entry without a host counts for every server. ``{username}`` is the login name, ``{key}`` the section of the
configuration, ``{name}`` the mailbox's name, ``{host}`` the server, ``{client_id}`` the app's id.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

#: What stands for an application's id that is not known.
UNKNOWN_CLIENT = "<application id>"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose login it is, for the words of a mend."""

    name: str
    key: str
    host: str
    username: str
    protocol: str
    auth_kind: str = "password"
    client_id: str = UNKNOWN_CLIENT


class _Entry(NamedTuple):
    host: str
    said: str
    lines: tuple[str, ...]
    auth: str = ""


_GOOGLE = r"(gmail|google|googlemail)\.com$"
_MICROSOFT = r"(office365|outlook|office|hotmail|live)\.com$"
_POWERSHELL = "in PowerShell, as an Exchange administrator (first: Connect-ExchangeOnline):"
_OF_GOOGLE = (
    "use an app password, not the account's own: turn on 2-step verification, then make one at "
    "https://myaccount.google.com/apppasswords and set {key}.auth.password_file to a file with it"
)

_ENTRIES = (
    # Exchange Online: the token is right, and its application has no right to this mailbox.
    _Entry(
        "",
        r"authenticated but not connected",
        (
            "the application may log in but not read this mailbox (or {username} is not its primary address); grant "
            f"it, {_POWERSHELL}",
            "New-ServicePrincipal -AppId {client_id} -ObjectId <object id of the enterprise application>",
            'Add-MailboxPermission -Identity "{username}" -User <object id of the enterprise application> '
            "-AccessRights FullAccess",
            "the object id is the one under Entra > Enterprise applications, not the one under App registrations; "
            "the right works after some minutes, up to an hour",
        ),
    ),
    _Entry(
        _MICROSOFT,
        r"SmtpClientAuthentication is disabled|5\.7\.139",
        (
            f"SMTP AUTH is switched off; allow it for this mailbox, {_POWERSHELL}",
            'Set-CASMailbox -Identity "{username}" -SmtpClientAuthenticationDisabled $false',
        ),
    ),
    _Entry(
        "",
        r"SendAsDenied|5\.7\.60\b|not allowed to send as|5\.7\.57\b|Sender address rejected: not owned",
        ("forward.from_address and forward.reverse_path have to be addresses the account {username} may send from",),
    ),
    # Token end-points. AADSTS is Entra's prefix.
    _Entry(
        "",
        r"AADSTS7000222",
        ("the client secret has expired: make a new one (Entra > App registrations > Certificates & secrets)",),
    ),
    _Entry(
        "",
        r"AADSTS7000215|invalid_client.{0,300}secret",
        (
            "the client secret is wrong: copy its Value, not its Secret ID (Entra > App registrations > "
            "Certificates & secrets); a value is shown once, so make a new one if it is lost",
        ),
    ),
    _Entry("", r"AADSTS700016|AADSTS90002|AADSTS900023", ("check tenant and client id of {key}.auth",)),
    _Entry(
        "",
        r"AADSTS65001|AADSTS50105|consent",
        ("grant the administrator's consent: Entra > App registrations > API permissions > Grant admin consent",),
    ),
    _Entry(
        "",
        r"unauthorized_client",
        (
            "allow the service account's client id the scope https://mail.google.com/: admin.google.com > Security > "
            "Access and data control > API controls > Manage domain-wide delegation",
        ),
    ),
    _Entry(
        "",
        r"invalid_grant.{0,300}(JWT|\biat\b|\bexp\b|timeframe)|AADSTS700024",
        ("this machine's clock is wrong; set it (timedatectl set-ntp true)",),
    ),
    _Entry(
        "",
        r"invalid_grant|expired or revoked|AADSTS(70008|700082|50173|700084)",
        ("the grant is over or was revoked; log in again: bouncepoll mailbox login {name}",),
    ),
    _Entry(
        _GOOGLE,
        r"application-specific password|less secure|log in (with|via) your web browser|weblogin|5\.7\.9\b",
        (_OF_GOOGLE,),
    ),
    _Entry(
        "",
        r"not enabled for (IMAP|POP)|(IMAP|POP)3? (access )?is (disabled|not enabled)|enable (IMAP|POP)|"
        r"(IMAP|POP)3? (is|access) .{0,80}not allowed",
        (
            "the account may not use {protocol} yet: an administrator has to allow it (Google: admin.google.com > "
            "Apps > Google Workspace > Gmail > End User Access; Microsoft 365: the mailbox's Email apps; Zoho, GMX and "
            "others: the mail settings of the account)",
        ),
    ),
    _Entry(
        "",
        r"too many (simultaneous )?connections|\[LIMIT\]|maximum number of connections",
        ("other programs read this account too: end some, or lower {key}.max_connections",),
    ),
    _Entry(
        "",
        r"throttl|overquota|back-?off|too many login|\brate\b|try again later|\[(UNAVAILABLE|INUSE|IN-USE|LOGIN-DELAY)",
        ("the server is busy or holds us back: wait some minutes, then poll less often ({key}.poll)",),
    ),
    _Entry(
        "",
        r"offers no way to log in|LOGINDISABLED|takes no password here|privacyrequired|STARTTLS first",
        (
            "set {key}.security to 'tls' or 'starttls' (many servers take a password over TLS only), or choose another "
            "{key}.auth.kind",
        ),
    ),
    # What is said to a wrong password, by host.
    _Entry(_GOOGLE, r"", (_OF_GOOGLE,), auth="password"),
    _Entry(
        _GOOGLE,
        r"",
        (
            "the token is not for this mailbox: log in as {username} (bouncepoll mailbox login {name}), or let the "
            "service account act for {username} (domain-wide delegation with the scope https://mail.google.com/)",
        ),
    ),
    _Entry(
        _MICROSOFT,
        r"",
        (
            "Microsoft takes no passwords any more: set {key}.auth.kind to 'client_credentials' (an organisation) or "
            "'device_code' (one account)",
        ),
        auth="password",
    ),
    _Entry(
        _MICROSOFT,
        r"",
        (
            "check that the application has {protocol}.AccessAsApp (Office 365 Exchange Online, application "
            "permission) and the administrator's consent, and that {username} is the mailbox's user principal name",
            f"check that the mailbox may use {{protocol}}, {_POWERSHELL}",
            'Set-CASMailbox -Identity "{username}" -ImapEnabled $true -PopEnabled $true',
            "check that the service principal exists, made with the enterprise application's object id: "
            "Get-ServicePrincipal",
        ),
    ),
    _Entry(
        r"(yahoo|aol)\.com$",
        r"",
        (
            "use an app password: Account Info > Security > Generate app password "
            "(https://login.yahoo.com/account/security, AOL: https://login.aol.com/account/security)",
        ),
    ),
    _Entry(
        r"(me|icloud)\.com$",
        r"",
        (
            "use an app-specific password: https://account.apple.com > Sign-In and Security > App-Specific Passwords",
            "the username is what stands before the '@'",
        ),
    ),
    _Entry(
        r"fastmail\.com$",
        r"",
        (
            "use an app password: Settings > Privacy & Security > Manage app passwords > New app password, with access "
            "to Mail (IMAP/POP/SMTP); the Basic plan has none",
        ),
    ),
    _Entry(
        r"zoho\.(com|eu|in)$",
        r"",
        (
            "allow {protocol} in the mailbox's settings (Mail Accounts > IMAP), and use an application-specific "
            "password where two-factor authentication is on; the host depends on the data centre (.com, .eu, .in)",
        ),
    ),
    _Entry(
        r"gmx\.(com|net)$",
        r"",
        (
            "allow POP3 and IMAP in the mailbox's settings (E-mail > POP3/IMAP), and use an app password where "
            "two-factor authentication is on",
        ),
    ),
    _Entry(
        "",
        r"",
        (
            "check {key}.username (some servers want the whole address, others what stands before the '@') and the "
            "password; try them in a mail program",
            "on your own Dovecot: doveadm auth test {username}",
        ),
        auth="password",
    ),
    _Entry(
        "",
        r"",
        (
            "the server does not accept the token: check {key}.username, and that the account may use {protocol} with "
            "it; log in again where a person has to: bouncepoll mailbox login {name}",
        ),
    ),
)


def mends(said: str, account: Account) -> tuple[str, ...]:
    """Return what mends a login, or an access after it, that was refused with these words.

    A short code of words that names nothing gives what is most likely for this host and kind of login.
    """
    for entry in _ENTRIES:
        if entry.auth and entry.auth != account.auth_kind:
            continue
        if entry.host and not re.search(entry.host, account.host, re.IGNORECASE):
            continue
        if entry.said and not re.search(entry.said, said, re.IGNORECASE):
            continue
        return tuple(_filled(line, account) for line in entry.lines)
    return ()


def access_mends(said: str, account: Account) -> tuple[str, ...]:
    """Return what mends something refused after the login; nothing where the words name nothing."""
    for entry in _ENTRIES:
        if entry.said and not entry.host and re.search(entry.said, said, re.IGNORECASE):
            return tuple(_filled(line, account) for line in entry.lines)
    return ()


def _filled(line: str, account: Account) -> str:
    values = {
        "name": account.name,
        "key": account.key,
        "host": account.host,
        "username": account.username,
        "protocol": account.protocol.upper().replace("POP3", "POP"),
        "client_id": account.client_id,
    }
    return re.sub(r"\{(name|key|host|username|protocol|client_id)\}", lambda match: values[match[1]], line)

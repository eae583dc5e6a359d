"""``bouncepoll dns``: whether the DNS sends the mails here, and lets the forwards through."""

from typing import Annotated

import typer

from bouncepoll.cli._checks import print_checks
from bouncepoll.cli._output import JsonOption
from bouncepoll.cli._state import state_of

app = typer.Typer(help="The DNS records of the filters' domains and of the forwards' sender.", no_args_is_help=True)


@app.command()
def check(
    context: typer.Context,
    domain: Annotated[
        list[str] | None, typer.Argument(help="Domains; those of the filters and of their template when none.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", help="Name of this host as its MX has it; by default the listener's.", show_default=False
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            help="IP address this host is reached at from outside; by default those of its name; may be repeated.",
            show_default=False,
        ),
    ] = None,
    outbound: Annotated[
        list[str] | None,
        typer.Option(
            "--outbound",
            help="IP address forwards leave from; by default those of the next hop's name; may be repeated.",
            show_default=False,
        ),
    ] = None,
    resolver: Annotated[
        str | None,
        typer.Option(
            "--resolver", metavar="ADDRESS[:PORT]", help="Resolver to ask; by default the system's.", show_default=False
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Longest wait for one answer, in seconds.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Look up MX, addresses, SPF, DMARC and PTR; say what is wrong and which record to add. Exit 1 when one fails."""
    from bouncepoll.diagnose import dns_check  # noqa: PLC0415 - dnspython takes 0.1 s, which no other command needs.

    asked = dns_check.Resolver(resolver, timeout_s=timeout)
    wishes = dns_check.Wishes(
        host,
        dns_check.addresses_of(address or (), "--address"),
        dns_check.addresses_of(outbound or (), "--outbound"),
        tuple(domain or ()),
    )
    with state_of(context).application() as application:
        wanted = dns_check.plan(application, wishes, asked)
    if not print_checks(dns_check.run(wanted, asked), as_json=as_json):
        raise typer.Exit(1)

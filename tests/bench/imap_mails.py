"""Real-shaped mails for the benchmark: this project's samples, with the trace fields a delivery adds, all different."""

from collections.abc import Iterator
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent.parent / "corpus"
_HOPS = ("mx-in-07.example.org", "relay-a12.example.net", "edge-eu-3.example.com", "out-0421.example.net")


def mails(count: int) -> Iterator[bytes]:
    """Yield that many mails of about 4 KB; each has a Message-ID of its own, so none is a duplicate."""
    samples = [_crlf(path.read_bytes()) for path in sorted(SAMPLES.rglob("*.eml"))]
    samples = [sample for sample in samples if len(sample) < 64 * 1024]
    for number in range(count):
        sample = samples[number % len(samples)]
        head, blank, body = sample.partition(b"\r\n\r\n")
        fields = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"message-id:")]
        yield b"".join(
            (
                _trace(number).encode(),
                b"\r\n".join(fields),
                f"\r\nMessage-ID: <{number:08x}.bench@mta{number % 97}.example.net>".encode(),
                blank,
                body,
            )
        )


def _trace(number: int) -> str:
    signature = "".join(f"{(number * 2654435761 + part) & 0xFFFFFFFF:08x}" for part in range(40))
    received = "".join(
        f"Received: from {sender} ([192.0.2.{number % 250 + 1}])\r\n\tby {receiver} (Postfix) with ESMTPS id "
        f"4{number:09X}{hop}\r\n\tfor <bounces-{number}@example.org>; Mon,  2 Nov 2026 10:{number // 60 % 60:02}:"
        f"{number % 60:02} +0000 (UTC)\r\n"
        for hop, (sender, receiver) in enumerate(zip(_HOPS[1:], _HOPS, strict=False))
    )
    authentication = "".join(
        f"{name}: {_HOPS[0]};\r\n\tdkim=pass (2048-bit key) header.d=example.net header.i=@example.net "
        f"header.b={signature[:8]};\r\n\tspf=none smtp.helo={_HOPS[1]};\r\n\tdmarc=pass (p=none) header.from=example.net"
        "\r\n"
        for name in ("Authentication-Results", "ARC-Authentication-Results")
    )
    signed = "".join(
        f"{name}: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=2026;\r\n\th=from:to:subject:date:message-id;"
        f"\r\n\tb={signature[:72]}\r\n\t {signature[72:144]}\r\n\t {signature[144:216]}\r\n\t {signature[216:288]}\r\n"
        for name in ("DKIM-Signature", "X-Google-DKIM-Signature", "ARC-Message-Signature")
    )
    return f"Return-Path: <>\r\nDelivered-To: bounces-{number}@example.org\r\n{received}{authentication}{signed}"


def _crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

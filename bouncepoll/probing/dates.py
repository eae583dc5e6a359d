"""A certificate out of its dates is most often one of a server that renews none, or a machine whose clock is wrong."""

import ssl

# X509_V_ERR_* of OpenSSL, as ``ssl.SSLCertVerificationError.verify_code`` has them.
_NOT_YET_VALID = 9
_EXPIRED = 10


def clock_advice(exc: ssl.SSLCertVerificationError) -> str | None:
    """Return what to do about a certificate that is out of its dates; None for one that is refused for another reason.

    A wrong clock is named: nothing else in the message would tell of it.
    """
    if exc.verify_code == _NOT_YET_VALID:
        return "this machine's clock is most likely behind; compare 'date' with another clock, and set it"
    if exc.verify_code == _EXPIRED:
        return "the server needs a new certificate, or this machine's clock is ahead: compare 'date' with another clock"
    return None

"""Runs a function under atheris, coverage-guided, from our own samples on; bounded by libFuzzer's own options.

What it finds is written into the folder of its samples (``crash-…``); ``tests/fuzz/test_found.py`` says what to do with
it.
"""

import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import atheris

HERE = Path(__file__).resolve().parent
# The bound on one mail is 2 s of the processor; libFuzzer counts the wall, and watched code is several times slower.
_TIMEOUT_S = 60
_MAX_LEN = 32 * 1024
_RSS_LIMIT_MB = 2048


def watched(*names: str) -> AbstractContextManager[Any]:
    """Return the context in which modules of these names are imported so that their coverage is seen."""
    instrumented: AbstractContextManager[Any] = atheris.instrument_imports(include=list(names))
    return instrumented


def run(one_mail: Callable[[bytes], None]) -> None:
    """Fuzz ``one_mail`` until libFuzzer's options on the command line end it.

    ``BOUNCEPOLL_FUZZ_DIR`` is the folder in which samples and findings are kept between runs; else one is made. Of our
    samples each is given, or each nth with ``BOUNCEPOLL_FUZZ_STEP``.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    kept = os.environ.get("BOUNCEPOLL_FUZZ_DIR")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="bouncepoll-fuzz-"))
    seeds = folder / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    samples = sorted((*(HERE.parent / "corpus").rglob("*.eml"), *(HERE / "found").glob("*.eml")))
    for sample in samples[:: int(os.environ.get("BOUNCEPOLL_FUZZ_STEP", "1"))]:
        shutil.copy(sample, seeds / f"{sample.parent.name}-{sample.name}")
    sys.stderr.write(f"what is found is written into {folder}\n")
    # What is built once, for all mails, is no mail's cost.
    one_mail(b"From: ann@example.com\n\ntext\n")
    bounds = (
        f"-timeout={_TIMEOUT_S}",
        f"-report_slow_units={_TIMEOUT_S}",
        f"-max_len={_MAX_LEN}",
        f"-rss_limit_mb={_RSS_LIMIT_MB}",
    )
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={folder}/", *sys.argv[1:], str(seeds)], one_mail)
    atheris.Fuzz()

"""Who reads mails: those that come, and on several processes those that are stored."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

from bouncepoll.analysis import Analyser, Analysing
from bouncepoll.classify import create_classifier
from bouncepoll.errors import UsageError
from bouncepoll.isolation import IsolatedAnalyser, Limits
from bouncepoll.ports import Archive, Clock, Selection
from bouncepoll.reprocess import Reprocessor, ReprocessReport
from bouncepoll.settings import Settings


@cache
def analyser_with(extra_rules: Path | None, instance_id: str) -> Analyser:
    """Return the analyser of this process, built once; what each worker calls for each chunk."""
    return Analyser(create_classifier(extra_rules).classify, instance_id)


def analysing(settings: Settings, here: Callable[[], Analyser]) -> Analysing:
    """Return what reads the mails that come: processes of their own, or what ``here`` returns where none are wanted."""
    options = settings.analysis
    if not options.workers:
        return here()
    build = partial(analyser_with, settings.rules.extra_file, settings.instance.id)
    isolated = IsolatedAnalyser(build, Limits(options.cpu, options.memory), workers=options.workers)
    isolated.prepare()
    return isolated


def reprocess(
    archive: Archive,
    analyser: Callable[[], Analyser],
    selection: Selection,
    *,
    apply: bool,
    resume: bool,
    workers: int,
    clock: Clock,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> ReprocessReport:
    """Classify stored mails again; see ``Application.reprocess``. ``analyser`` is called in each worker."""
    unfinished = archive.unfinished_run() if apply else None
    if resume and unfinished is None:
        raise UsageError("no run was stopped; start one with 'bouncepoll reprocess --apply'")
    if unfinished is not None and not resume:
        raise UsageError(
            f"the run of {unfinished[0].started_at:%Y-%m-%d %H:%M} stopped after mail {unfinished[0].after_id}; "
            "finish it first with 'bouncepoll reprocess --apply --resume'"
        )
    run, meant = unfinished if unfinished is not None else (None, selection)
    # Forking a process that has threads (the progress bar's) may deadlock: workers start afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        reprocessor = Reprocessor(
            archive, meant, analyser, executor, clock=clock, should_stop=should_stop, on_progress=on_progress
        )
        if not apply:
            return reprocessor.compare()
        run = run or archive.begin_run(meant, clock())
        return reprocessor.apply(run.id, run.after_id)

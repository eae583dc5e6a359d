"""Who reads mails: those that come, and on several processes those that are stored."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache, partial
from pathlib import Path

from bouncepoll.analysis import Analyser, Analysing, Weighing
from bouncepoll.bootstrap.tokens import weighing
from bouncepoll.classify import create_classifier
from bouncepoll.errors import UsageError
from bouncepoll.isolation import IsolatedAnalyser, Limits
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.storing import Selection
from bouncepoll.ports import Archive, Clock
from bouncepoll.reprocess import Reprocessor, ReprocessReport
from bouncepoll.settings import Settings


@cache
def analyser_with(extra_rules: Path | None, instance_id: str, weighing: Weighing | None = None) -> Analyser:
    """Return the analyser of this process, built once; what each process that reads calls."""
    return Analyser(create_classifier(extra_rules).classify, instance_id, weighing)


def analysing(settings: Settings, here: Callable[[], Analyser]) -> Analysing:
    """Return what reads the mails that come: processes of their own, or what ``here`` returns where none are wanted."""
    if not settings.analysis.workers:
        return here()
    isolated = _isolated(settings, settings.analysis.workers)
    isolated.prepare()
    return isolated


def reprocess(
    archive: Archive,
    filters: Sequence[BounceFilter],
    settings: Settings,
    selection: Selection,
    *,
    apply: bool,
    resume: bool,
    workers: int,
    clock: Clock,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> ReprocessReport:
    """Classify stored mails again; see ``Application.reprocess``."""
    unfinished = archive.unfinished_run() if apply else None
    if resume and unfinished is None:
        raise UsageError("no run was stopped; start one with 'bouncepoll reprocess --apply'")
    if unfinished is not None and not resume:
        raise UsageError(
            f"the run of {unfinished[0].started_at:%Y-%m-%d %H:%M} stopped after mail {unfinished[0].after_id}; "
            "finish it first with 'bouncepoll reprocess --apply --resume'"
        )
    run, meant = unfinished if unfinished is not None else (None, selection)
    # The threads only wait for the processes that read.
    with closing(_isolated(settings, workers)) as isolated, ThreadPoolExecutor(workers) as executor:
        reprocessor = Reprocessor(
            archive,
            meant,
            lambda: isolated,
            executor,
            clock=clock,
            filters=filters,
            should_stop=should_stop,
            on_progress=on_progress,
        )
        if not apply:
            return reprocessor.compare()
        run = run or archive.begin_run(meant, clock())
        return reprocessor.apply(run.id, run.after_id)


def _isolated(settings: Settings, workers: int) -> IsolatedAnalyser:
    options = settings.analysis
    build = partial(analyser_with, settings.rules.extra_file, settings.instance.id, weighing(settings))
    return IsolatedAnalyser(build, Limits(options.cpu, options.memory), workers=workers)

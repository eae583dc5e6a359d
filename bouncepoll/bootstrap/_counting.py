"""What a poll would read."""

from collections.abc import Sequence

from bouncepoll.ports import Source, Store


def count_new(source: Source, store: Store) -> Sequence[tuple[str, int]]:
    """Log in to a mailbox and return each folder with the number of mails the next poll would read."""
    found = []
    try:
        source.open()
        for folder in source.folders:
            with store.begin() as uow:
                cursor = uow.cursor(source.name, folder)
            scan = source.scan(folder, cursor)
            with store.begin() as uow:
                found.append((folder, len(set(scan.uids) - uow.known(scan))))
    finally:
        source.close()
    return found

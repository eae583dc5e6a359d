"""The long form of these tests is run by ``make test-reliability`` only."""

import os

collect_ignore = [] if os.environ.get("BOUNCEPOLL_RELIABILITY") else ["test_each_fault.py"]

"""Of ``make test-compiled`` only: the sources are tested everywhere else."""

from bouncepoll.mime import head

collect_ignore = ["test_modules.py"] if head.__file__.endswith(".py") else []

class Problem(Exception):
    """Bad input: what was wrong, where, and what to do."""


class NotRun(Exception):
    """A figure has nothing to show; says why."""

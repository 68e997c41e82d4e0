"""The one exception that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: the text is one line saying what, where and what to do.

    Command-line entry points print it without a stack trace and exit with status 2.
    """

"""The one exception type that is meant for the eyes of a user."""


class UserError(Exception):
    """Something the user can mend. One line: what is wrong; how to mend it.

    The entry points print the line without a traceback and exit with status 1.
    """

"""The one exception that is shown to the user as a single line."""


class UserError(Exception):
    """Bad input or an environment that cannot work, told in one line: what was wrong, what is allowed, what to do."""

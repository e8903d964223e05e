"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Wrong input, setting or file: the message is one line that names it, and the remedy.

    The pipelines print it without a traceback and exit with status 2. Anything else that is
    raised is a bug of ours and keeps its traceback.
    """

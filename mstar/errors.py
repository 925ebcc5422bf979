"""The one exception that users are meant to see.

Its message is one clear line: the value, the rule it breaks, and the remedy. The command line prints it
without a traceback and exits with code 2; everything else that is raised is a defect of ours and keeps its
traceback.
"""


class UserError(ValueError):
    """Something that the user can put right: a setting, a file, a full disk."""

"""The one exception that users are meant to see.

Its message is one clear line: the value, the rule it breaks, and the remedy. The command line prints it
without a traceback and exits with code 2; everything else that is raised is a defect of ours and keeps its
traceback.
"""


class UserError(ValueError):
    """Something that the user can put right: a setting, a file, a full disk."""


class WrongBytes(UserError):
    """A stored file has other bytes than were written."""


class ClosedPlace(UserError):
    """A bucket or an object that cannot be, or that the keys may not look into: others may well be open."""


class UnusableRequest(UserError):
    """One problem that the model cannot read: its prompt is too long, or its processor refuses an image."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"problem {id} {reason}")
        self.id = id
        self.reason = reason


class PolicyRemoved(UserError):
    """The policy of an iteration is needed again, and `train.keep_checkpoints` has let it go."""

    def __init__(self, iteration: int, output: str) -> None:
        super().__init__(
            f"the policy of iteration {iteration} is needed again, and train.keep_checkpoints has let it go; "
            f"mstar run {output}/run.yaml trains it again and goes on"
        )
        self.iteration = iteration

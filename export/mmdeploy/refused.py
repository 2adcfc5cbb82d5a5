"""What an operator can mend; everything else that fails here is a bug or a broken environment."""


class Refused(Exception):
    """Its message ends a sentence that begins with the checkpoint's name."""

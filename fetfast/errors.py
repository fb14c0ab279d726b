"""What can go wrong, one type per kind. Every message says what was got, what was wanted, and what to do."""


class FetfastError(Exception):
    """Any failure that a user can mend; the command line prints it on one line and exits with 2."""


class BadInput(FetfastError, ValueError):
    """An argument, an image or a tensor that is not what the function takes."""


class BadPlan(FetfastError):
    """A plan file that is damaged, of another version, or not a plan."""


class NoFace(FetfastError):
    """No face was found where one is needed."""


class Unavailable(FetfastError):
    """Asked for by name, but this machine or this plan cannot do it."""


class MissingAsset(FetfastError):
    """A file that is fetched once could not be had, or is not the file it should be."""

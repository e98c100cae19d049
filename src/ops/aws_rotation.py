"""The handler's name in functions that are deployed already; the code is in :mod:`.aws_lambda.rotation`."""

from .aws_lambda.rotation import handler

__all__ = ["handler"]

"""Errors of MLflow: those that pass, and refusals that the same message would meet again."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, InvalidUrlException, MlflowException
from requests import HTTPError, RequestException
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from memtrack.tracking.address import reported

ERRORS = (MlflowException, RequestException, SQLAlchemyError, ImportError, OSError, ValueError)
"""The errors that MLflow raises if a store cannot be used."""
_PASSING = (408, 425, 429)
_NEVER = (501, 505)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
                 errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)  # fmt: skip
_LOCKED = re.compile(r"is locked|disk is full")
_WRONG_LOGIN = re.compile(r"authentication|password|access denied|does not exist", re.IGNORECASE)


class NoAnswer(Exception):
    """The store did not answer in time."""


def reason(error: BaseException) -> str:
    """What an error says without secrets, in one line that is not too long."""
    return " ".join(reported(error).split())[:300] or type(error).__name__


def status(error: BaseException) -> int | None:
    """The HTTP status that an error stands for, if it stands for one."""
    if isinstance(error, HTTPError) and error.response is not None:
        return int(error.response.status_code)
    if isinstance(error, MlflowException):
        found = re.search(
            r"failed with error code (\d{3})\b", str(error)
        )  # a status that MLflow has no name for
        named = isinstance(getattr(error, "json", {}), Mapping) and ERROR_CODE_TO_HTTP_STATUS.get(
            error.error_code
        )
        return int(found[1]) if found else named or None
    return None


def permanent(error: BaseException) -> bool:
    """Whether the store would refuse the same message again: a name or value is not allowed, a file is too
    large, or this machine cannot write to the artifact store."""
    code = status(error)
    if code is not None:
        return (400 <= code < 500 and code not in _PASSING) or code in _NEVER
    if isinstance(error, ImportError):  # the client of an artifact store is not installed
        return True
    return type(error).__module__ == "builtins" and getattr(error, "errno", None) in _NOT_WRITABLE


def internal_error(error: BaseException) -> bool:
    """Whether the store answered that it failed (500), in place of giving no answer. It may take other
    messages, and fail at this one each time."""
    unanswered = "failed with exception" in str(error) and "too many 500 error responses" not in str(error)
    return status(error) == 500 and not unanswered


def may_come_back(uri: str, error: BaseException) -> bool:
    """Whether a store that failed may answer later; else its address is wrong, or it refuses this user."""
    if isinstance(error, NoAnswer):
        return True
    if uri.startswith(("http://", "https://")):
        no_address = isinstance(error, InvalidUrlException) or type(error) is ValueError
        return not no_address and not permanent(error)
    if uri.startswith("sqlite"):
        return _LOCKED.search(str(error)) is not None
    away = isinstance(error, OperationalError | InterfaceError) or status(error) == 503
    return away and not _WRONG_LOGIN.search(str(error))

"""Every test runs in an empty project."""

from project_fixtures import project  # noqa: F401

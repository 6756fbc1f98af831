"""Every test runs in an empty project."""

from project_fixtures import empty_store, project  # noqa: F401

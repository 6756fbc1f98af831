"""Every test runs in an empty project."""

from project_fixtures import network, picture, project  # noqa: F401

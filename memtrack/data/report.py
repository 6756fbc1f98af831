"""What stage `prepare` took and what it left out, in results/prepare/report.json.

It is not in data/prepared, which the later stages depend on: a file that is left out changes no result.
"""

from __future__ import annotations

from pydantic import Field

from memtrack.config.json_files import StrictModel
from memtrack.data.sources.collected import LeftOut

EXAMPLES = 5
"""The number of paths that are given for each reason."""
SHOWN = 20
"""At most this many classes are printed."""


class Omission(StrictModel):
    """Files or folders that are left out for the same reason."""

    reason: str
    count: int
    examples: list[str]


class PreparationReport(StrictModel):
    """report.json."""

    images: dict[str, dict[str, int]] = Field(description="The images of each class, in each split.")
    left_out: list[Omission]
    transparent: int = Field(description="Images with transparent pixels: they show data.background.")
    several_frames: int = Field(description="Animations and files of several pages: the first one is used.")
    one_colour: int = Field(description="Images of which every pixel has the same colour.")
    depth: int | None = Field(description="The bits that images of more than 8 bits use; null: none.")

    def in_words(self) -> list[str]:
        """The lines that the stage prints."""
        lines = []
        for name in list(self.images)[:SHOWN]:
            counts = ", ".join(f"{count} {split}" for split, count in self.images[name].items())
            lines.append(f"  {name}: {counts}")
        if len(self.images) > SHOWN:
            lines.append(f"  ... and {len(self.images) - SHOWN} more classes")
        if self.depth is not None:
            lines.append(f"images of more than 8 bits per channel are taken to use {self.depth} (data.depth)")
        if self.transparent:
            lines.append(f"images with transparent pixels, which show data.background: {self.transparent}")
        if self.several_frames:
            lines.append(
                f"files of several frames or pages, of which the first is used: {self.several_frames}"
            )
        if self.one_colour:
            hint = " (another data.background may show what is on them)" if self.transparent else ""
            lines.append(f"images that have one colour throughout: {self.one_colour}{hint}")
        if self.left_out:
            lines.append(f"left out: {sum(omission.count for omission in self.left_out)} files or folders")
        for omission in self.left_out:
            lines.append(f"  {omission.count} {omission.reason}; the first is {omission.examples[0]}")
        return lines


def omissions(left_out: LeftOut) -> list[Omission]:
    """What is left out, as the report lists it."""
    return [
        Omission(reason=reason, count=len(paths), examples=paths[:EXAMPLES])
        for reason, paths in left_out.items()
    ]

"""Convert a source into the canonical form that `memtrack.data.prepared` reads."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import write_json
from memtrack.config.paths import input_path
from memtrack.config.sections.data import Cells, DataParams, Files, HeldOut
from memtrack.core.images.pixels import Pixels, is_vector, moments
from memtrack.core.kept_files import write_array
from memtrack.data.cells import ImageFault, image_problems
from memtrack.data.class_names import check_names
from memtrack.data.decoding import (
    DEPTHS,
    BrokenImage,
    DeepImage,
    RefusedImage,
    Seen,
    decode_and_judge,
    fault_of,
)
from memtrack.data.image_cache import CHUNK, NewCache, cache_file, combined
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import (
    CHECKSUMS,
    IMAGES,
    INFO,
    SAMPLES,
    WORDS,
    DatasetInfo,
    FileImages,
    ImagePlace,
    Words,
    checksum,
)
from memtrack.data.report import PreparationReport, omissions
from memtrack.data.sources import Collected
from memtrack.terminal.progress import Progress
from memtrack.terminal.workers import end_with_parent

SPLITS = ("train", "test", "unused")


@dataclass(frozen=True)
class _File:
    """What was found when an image file was read.

    sums: see `_sums`, (channels, 2). broken, refused: why it cannot be used. peak: its largest value if it
    has more than 8 bits and it is not known yet how many of them are used, else 0; the sums are then missing.
    seen: what else was seen in it. checksum: of its pixels.
    """

    sums: NDArray[np.int64]
    broken: ImageFault | None = None
    refused: ImageFault | None = None
    peak: int = 0
    seen: Seen = field(default_factory=Seen)
    checksum: int = 0


@dataclass(frozen=True)
class _Images:
    """All images.

    sums: see `_sums`, (N, channels, 2). Of image files: seen: what else was seen in each. sha256: the hash of
    the pixels of all of them. checksums: of the pixels of each, (N,). depth: the bits that files of more than
    8 bits use; None if there are none and data.depth does not say it.
    """

    sums: NDArray[np.int64]
    seen: Sequence[Seen] = ()
    sha256: str | None = None
    checksums: NDArray[np.uint64] | None = None
    depth: int | None = None


def write_prepared(
    collected: Collected, params: DataParams, folder: Path, *, image_cache: float = 0
) -> tuple[DatasetInfo, PreparationReport]:
    """Write a source in canonical form.

    Args:
        image_cache: the bytes that decoded image files may take in the project; see `image_cache`.

    Raises:
        InputError: for names that are nearly surely mistakes (`check_names`); with all images that are
            broken, unless they are skipped, and all that cannot be used for another reason; or if no usable
            image is left in a class or in the test split.
    """
    check_names(collected, params)
    folder.mkdir(parents=True, exist_ok=True)
    samples = pd.DataFrame({"id": collected.ids, "label": collected.labels})
    samples["split"] = collected.splits if collected.splits is not None else "train"
    samples["image"] = collected.encoded or collected.ids
    if collected.images is not None:
        samples["image"] = np.arange(len(samples)).astype(str)
    for name in (IMAGES, CHECKSUMS, WORDS):
        (folder / name).unlink(missing_ok=True)
    images = _read_all(collected, params, samples, image_cache)
    if collected.splits is None:
        assert isinstance(params, HeldOut)
        _move(samples, params.test_share, "train", "test", params, "test_share")
    training = int((samples["split"] == "train").sum())
    if params.train_limit is not None and params.train_limit < training:
        leave = training - params.train_limit
        _move(samples, leave, "train", "unused", params, "train_limit")
    lost = sorted(set(collected.classes) - set(samples.loc[samples["split"] == "train", "label"]))
    if lost:
        text = "no usable training image is left of the class {!r}: mend or add some, or remove the class"
        raise InputError([Problem(Path(params.root), message=text.format(name)) for name in lost])
    if "test" in (collected.splits or ()) and "test" not in set(samples["split"]):
        text = "no usable test image: all are broken and left out (data.on_error: skip): mend or add some"
        raise InputError([Problem(Path(params.root), message=text)])

    if isinstance(params, Files):
        shape = (len(params.mode), params.image_size, params.image_size)
    else:
        assert collected.images is not None
        shape = collected.images.shape[1:]
    rows = (samples["split"] == "train").to_numpy()
    if is_vector(shape):
        assert collected.images is not None
        mean, std = _statistics_of_vectors(collected.images[rows])
    else:
        mean, std = _statistics(images.sums[rows], shape[1] * shape[2])
    count = samples["split"].value_counts().to_dict()
    info = DatasetInfo(
        source=params.kind,
        classes=collected.classes,
        shape=shape,
        mean=mean,
        std=std,
        train=count.get("train", 0),
        test=count.get("test", 0),
        unused=count.get("unused", 0),
        skipped=count.get("skipped", 0),
        files=FileImages(
            root=params.root,
            size=params.image_size,
            mode=params.mode,
            background=params.background,
            depth=images.depth,
            sha256=images.sha256,
        )
        if isinstance(params, Files) and images.sha256 is not None
        else None,
    )
    name, array = (CHECKSUMS, images.checksums) if collected.images is None else (IMAGES, collected.images)
    assert array is not None
    write_array(folder / name, array)
    samples.to_csv(folder / SAMPLES, index=False)
    write_json(info, folder / INFO)
    names = [SAMPLES, INFO, name]
    if (cells := collected.words) is not None:
        write_json(Words(columns=list(map(str, cells)), rows=cells.to_numpy().tolist()), folder / WORDS)
        names.append(WORDS)
    made_from = {"data": params.model_dump(mode="json")}
    write_manifest(folder, made_from, {file: folder / file for file in names})
    return info, _report(collected, samples, images, shape[1] * shape[2])


def _report(collected: Collected, samples: pd.DataFrame, images: _Images, pixels: int) -> PreparationReport:
    usable = samples["split"] != "skipped"
    counts = samples[usable].groupby(["label", "split"]).size()
    left_out = dict(collected.left_out)
    if not usable.all():
        left_out["broken images (data.on_error: skip)"] = samples.loc[~usable, "id"].tolist()
    first, second = images.sums[usable.to_numpy()].transpose(2, 0, 1)
    return PreparationReport(
        images={
            name: {split: int(counts[name, split]) for split in SPLITS if (name, split) in counts.index}
            for name in collected.classes
        },
        left_out=omissions(left_out),
        transparent=sum(seen.transparent for seen in images.seen),
        several_frames=sum(seen.several_frames for seen in images.seen),
        one_colour=int((pixels * second == first**2).all(axis=1).sum()) if pixels > 1 else 0,
        depth=images.depth,
    )


def _move(
    samples: pd.DataFrame, amount: float | int, source: str, target: str, params: DataParams, key: str
) -> None:
    from sklearn.model_selection import train_test_split  # takes a second; only stage prepare needs it

    rows = samples.index[samples["split"] == source].to_numpy()
    counts = samples.loc[rows, "label"].value_counts()
    if counts.min() < 2:
        text = f"the class {counts.idxmin()!r} has one sample, and each side of the split needs one of it"
        raise params.mistake(key, message=f"{text}: add some, or leave the class out")
    try:
        _, moved = train_test_split(
            rows,
            test_size=amount,
            stratify=samples.loc[rows, "label"],
            random_state=np.random.RandomState(np.random.PCG64(params.seed)),
        )
    except ValueError:
        text = f"{len(rows)} samples of {len(counts)} classes: each side of the split needs one of each class"
        raise params.mistake(key, message=text) from None
    samples.loc[moved, "split"] = target


def _sums(images: Pixels) -> NDArray[np.int64]:
    """The sums of the pixels and of their squares for each image and channel, (B, channels, 2)."""
    exact = np.int64 if images.dtype == np.uint8 else np.float64
    pixels = images.reshape(*images.shape[:2], -1).astype(exact)
    return np.stack([pixels.sum(axis=2), (pixels**2).sum(axis=2)], axis=2)


def _read_files(
    params: Files, cache: NewCache | None, depth: int | None, start: int, names: Sequence[str]
) -> tuple[list[_File], bytes]:
    """What is found in each image file, and a hash of all pixels, which are kept in the cache from the row
    `start` on."""
    place, content = _place(params), hashlib.sha256()
    files, nothing = [], np.zeros((len(params.mode), 2), dtype=np.int64)
    for row, name in enumerate(names, start):
        where = place.of(name)
        try:
            pixels, seen = decode_and_judge(
                where,
                size=params.image_size,
                mode=params.mode,
                background=params.background,
                depth=depth,
                max_pixels=params.max_pixels,
            )
        except DeepImage as error:
            files.append(_File(nothing, peak=error.peak))
        except BrokenImage as error:
            files.append(_File(nothing, broken=fault_of(where, error)))
        except (OSError, RefusedImage) as error:
            files.append(_File(nothing, refused=fault_of(where, error)))
        else:
            content.update(pixels.tobytes())
            if cache is not None:
                cache.write(row, pixels)
            files.append(_File(_sums(pixels[None])[0], seen=seen, checksum=checksum(pixels)))
    return files, content.digest()


def _read_all(collected: Collected, params: DataParams, samples: pd.DataFrame, image_cache: float) -> _Images:
    """Read every image; mark broken files as skipped in `samples`, or raise an `InputError`."""
    if collected.images is not None:
        array = collected.images
        sums = np.concatenate([_sums(array[i : i + CHUNK]) for i in range(0, len(array), CHUNK)])
        return _Images(sums)
    assert isinstance(params, Files)
    names = samples["image"].tolist()
    shape = (len(params.mode), params.image_size, params.image_size)
    cache = NewCache.reserved(len(names), shape, image_cache)
    try:
        parts, depth = _read_chunks(params, cache, names)
        files = [file for part, _ in parts for file in part]
        _report_problems(params, files)
        sha256 = combined(digest for _, digest in parts)
        if cache is not None:
            cache.complete(cache_file(sha256, names))
    finally:
        if cache is not None:
            cache.discard()
    samples.loc[[bool(file.broken) for file in files], "split"] = "skipped"
    return _Images(
        sums=np.stack([file.sums for file in files]),
        seen=[file.seen for file in files],
        sha256=sha256,
        checksums=np.array([file.checksum for file in files], dtype=np.uint64),
        depth=depth,
    )


def _read_chunks(
    params: Files, cache: NewCache | None, names: Sequence[str]
) -> tuple[list[tuple[list[_File], bytes]], int | None]:
    """What `_read_files` finds in each chunk of images, and the bits that files of more than 8 bits use.

    Files of more than 8 bits per channel are read again once it is known how many bits all of them use.
    """
    depth = params.depth
    starts = range(0, len(names), CHUNK)
    chunks = [names[start : start + CHUNK] for start in starts]
    parts: list[tuple[list[_File], bytes]] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=end_with_parent) as pool:
        try:
            read = pool.map(partial(_read_files, params, cache, depth), starts, chunks)
            parts += Progress(read, "reading the images", total=len(chunks))
            peaks = [max(file.peak for file in files) for files, _ in parts]
            if any(peaks):
                depth = next(bits for bits in DEPTHS if max(peaks) < 1 << bits)
                deep = [number for number, peak in enumerate(peaks) if peak]
                read = pool.map(
                    partial(_read_files, params, cache, depth),
                    [starts[number] for number in deep],
                    [chunks[number] for number in deep],
                )
                label = f"reading images of {depth} bits"
                for number, part in zip(deep, Progress(read, label, total=len(deep)), strict=True):
                    parts[number] = part
        except BrokenProcessPool:
            text = (
                "a process that reads the images has died, perhaps because memory ran out: with a lower "
                "number here, images that are too large are named"
            )
            raise params.mistake("max_pixels", message=text) from None
    return parts, depth


def _place(params: Files) -> ImagePlace:
    return ImagePlace(input_path(params.root), params.image_column if isinstance(params, Cells) else None)


def _report_problems(params: Files, files: Sequence[_File]) -> None:
    """Print which broken files are left out; an `InputError` if files are refused, or must not be broken."""
    count = sum(file.broken is not None for file in files)
    broken = image_problems(file.broken for file in files if file.broken is not None)
    refused = image_problems(file.refused for file in files if file.refused is not None)
    if broken and params.on_error == "fail":
        hint = f"{count} broken images: 'skip' leaves them out"
        refused += [*params.mistake("on_error", message=hint).problems, *broken]
    if refused:
        raise InputError(refused)
    if broken:
        print(f"{InputError(broken)}\nskipped {count} broken images (data.on_error: skip)")


def _statistics(sums: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels in [0, 1], computed from exact integers."""
    count = len(sums) * pixels
    channels = [(int(first), int(second)) for first, second in sums.sum(axis=0)]  # Python's integers
    mean = tuple(first / count / 255 for first, _ in channels)
    # a constant channel is not scaled
    std = tuple(math.sqrt(count * second - first**2) / count / 255 or 1.0 for first, second in channels)
    return mean, std


def _statistics_of_vectors(vectors: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each feature of vectors (N, features, 1, 1), as of pixels in [0, 1]."""
    mean, std = moments(vectors[:, :, 0, 0].astype(np.float64) / 255)
    return tuple(mean.tolist()), tuple(
        np.nan_to_num(std, nan=1.0).tolist()
    )  # a constant feature is not scaled

"""Convert a source into the canonical form that `memtrack.data.prepared` reads."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import write_json
from memtrack.config.paths import input_path
from memtrack.config.sections.data import DataParams, Files, HeldOut
from memtrack.core.images.pixels import Pixels
from memtrack.data.class_names import check_names
from memtrack.data.decoding import decode
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import CHUNK, IMAGES, INFO, SAMPLES, DatasetInfo, FileImages
from memtrack.data.sources import Collected
from memtrack.terminal.progress import Progress


def write_prepared(collected: Collected, params: DataParams, folder: Path) -> DatasetInfo:
    """Write a source in canonical form.

    Raises:
        InputError: for names that are nearly surely mistakes (`check_names`), and with all broken images,
            unless they are skipped.
    """
    check_names(collected, params)
    folder.mkdir(parents=True, exist_ok=True)
    samples = pd.DataFrame({"id": collected.ids, "label": collected.labels})
    samples["split"] = collected.splits if collected.splits is not None else "train"
    samples["image"] = samples["id"] if collected.images is None else np.arange(len(samples)).astype(str)
    if collected.images is not None:
        np.save(folder / IMAGES, np.ascontiguousarray(collected.images), allow_pickle=False)
    sums, content = _read_all(collected, params, samples)
    if collected.splits is None:
        assert isinstance(params, HeldOut)
        _move(samples, params.test_share, "train", "test", params, "test_share")
    training = int((samples["split"] == "train").sum())
    if params.train_limit is not None and params.train_limit < training:
        leave = training - params.train_limit
        _move(samples, leave, "train", "unused", params, "train_limit")
    lost = sorted(set(collected.classes) - set(samples.loc[samples["split"] == "train", "label"]))
    if lost:
        raise InputError([Problem(Path(params.root), message=f"no usable training image of class {name!r}")
                          for name in lost])  # fmt: skip

    if isinstance(params, Files):
        shape = (len(params.mode), params.image_size, params.image_size)
    else:
        assert collected.images is not None
        shape = collected.images.shape[1:]
    mean, std = _statistics(sums[(samples["split"] == "train").to_numpy()], shape[1] * shape[2])
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
        files=FileImages(root=params.root, size=params.image_size, mode=params.mode, sha256=content)
        if isinstance(params, Files) and content is not None
        else None,
    )
    samples.to_csv(folder / SAMPLES, index=False)
    write_json(info, folder / INFO)
    write_manifest(folder, {})
    return info


def _move(
    samples: pd.DataFrame, amount: float | int, source: str, target: str, params: DataParams, key: str
) -> None:
    from sklearn.model_selection import train_test_split  # takes a second; only stage prepare needs it

    rows = samples.index[samples["split"] == source].to_numpy()
    try:
        _, moved = train_test_split(
            rows,
            test_size=amount,
            stratify=samples.loc[rows, "label"],
            random_state=np.random.RandomState(np.random.PCG64(params.seed)),
        )
    except ValueError as error:
        text = f"the samples cannot be split by class: {error}"
        raise params.mistake(key, message=text) from None
    samples.loc[moved, "split"] = target


def _sums(images: Pixels) -> NDArray[np.int64]:
    """The sums of the pixels and of their squares for each image and channel, (B, channels, 2)."""
    pixels = images.reshape(*images.shape[:2], -1).astype(np.int64)
    return np.stack([pixels.sum(axis=2), (pixels**2).sum(axis=2)], axis=2)


def _read_files(params: Files, names: Sequence[str]) -> tuple[NDArray[np.int64], list[str], bytes]:
    """The sums of each image file, why it cannot be read ('' if it can), and a hash of all pixels."""
    root, sums, reasons, content = input_path(params.root), [], [], hashlib.sha256()
    for name in names:
        try:
            image = decode(root / name, size=params.image_size, mode=params.mode)
            sums.append(_sums(image[None])[0])
            content.update(image.tobytes())
            reasons.append("")
        except OSError as error:
            sums.append(np.zeros((len(params.mode), 2), dtype=np.int64))
            reasons.append(str(error))
    return np.stack(sums), reasons, content.digest()


def _read_all(
    collected: Collected, params: DataParams, samples: pd.DataFrame
) -> tuple[NDArray[np.int64], str | None]:
    """Read every image once; mark broken files as skipped in `samples`, or raise an `InputError`.

    Returns:
        the sums of `_sums` (N, channels, 2), and for image files a hash of all their pixels.
    """
    if collected.images is not None:
        array = collected.images
        return np.concatenate([_sums(array[i : i + CHUNK]) for i in range(0, len(array), CHUNK)]), None
    assert isinstance(params, Files)
    names = samples["id"].tolist()
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = pool.map(partial(_read_files, params), chunks)
        parts = list(Progress(read, "reading the images", total=len(chunks)))
    reasons = [reason for part in parts for reason in part[1]]
    root = input_path(params.root)
    broken = [
        Problem(root / name, message=f"a broken image: {reason}")
        for name, reason in zip(names, reasons, strict=True)
        if reason
    ]
    if broken and params.on_error == "fail":
        hint = f"{len(broken)} broken images: 'skip' leaves them out"
        raise InputError([*params.mistake("on_error", message=hint).problems, *broken])
    if broken:
        print(f"{InputError(broken)}\nskipped {len(broken)} broken images (data.on_error: skip)")
    samples.loc[[bool(reason) for reason in reasons], "split"] = "skipped"
    content = hashlib.sha256(b"".join(part[2] for part in parts)).hexdigest()
    return np.concatenate([part[0] for part in parts]), content


def _statistics(sums: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels in [0, 1], computed from exact integers."""
    count = len(sums) * pixels
    channels = [(int(first), int(second)) for first, second in sums.sum(axis=0)]  # Python's integers
    mean = tuple(first / count / 255 for first, _ in channels)
    # a constant channel is not scaled
    std = tuple(math.sqrt(count * second - first**2) / count / 255 or 1.0 for first, second in channels)
    return mean, std

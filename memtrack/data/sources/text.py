"""Short texts as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.data import Text
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.rows import Samples, collected, read_rows


def collect(params: Text) -> Collected:
    """All rows; each text is a vector: the first `dimensions` principal directions of the TF-IDF weights of
    its words, which come from the texts alone, without their labels; or what `model` makes of it.

    Raises:
        InputError: for texts without words, too few words for the dimensions, or a model that cannot be had.

    Source: Deerwester et al., Indexing by Latent Semantic Analysis, 1990.
    """
    found = read_rows(params, [params.text_column])
    texts = found.cells[params.text_column].tolist()
    if params.model is None:
        return collected(found, _directions(params, found, texts), [params.text_column])
    _refuse_empty(found, [bool(text.strip()) for text in texts])
    return collected(found, _embeddings(params, texts), [params.text_column])


def _directions(params: Text, found: Samples, texts: list[str]) -> NDArray[np.float64]:
    """The vectors of TF-IDF, (N, dimensions)."""
    try:
        weights = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    except ValueError:
        text = f"the column {params.text_column!r} holds no words: name another in data.text_column"
        raise InputError([Problem(found.path, message=text)]) from None
    _refuse_empty(found, weights.getnnz(axis=1))
    most = min(weights.shape) - 1
    if params.dimensions > most:
        text = f"should be at most {most}: there are {weights.shape[0]} texts with {weights.shape[1]} words"
        raise params.mistake("dimensions", message=text)
    return TruncatedSVD(params.dimensions, random_state=0).fit_transform(weights)


def possible_dimensions(texts: Sequence[str]) -> int:
    """The most dimensions that TF-IDF vectors of these texts can have; 0 if they hold no words."""
    try:
        return min(TfidfVectorizer().fit_transform(texts).shape) - 1
    except ValueError:
        return 0


def _refuse_empty(found: Samples, words: Sequence[int]) -> None:
    """`InputError` for the texts of which `words` is 0."""
    text = "the text has no words: write some, or leave the row out"
    problems = [found.problem(row, text) for row, count in enumerate(words) if not count]
    if problems:
        raise InputError(problems)


def _embeddings(params: Text, texts: list[str]) -> NDArray[np.floating[Any]]:
    """What the model makes of the texts, (N, its dimensions)."""
    model = _model(params)
    longest = getattr(model, "max_seq_length", None)
    if longest is not None:
        cut = sum(len(tokens) > longest for tokens in model.tokenizer(texts, truncation=False)["input_ids"])
        if cut:
            print(f"{cut} texts are longer than the {longest} tokens that {params.model} reads, and are cut")
    vectors: NDArray[np.floating[Any]] = model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
    if not np.isfinite(vectors).all():
        raise params.mistake(
            "model", message=f"{params.model} gives vectors that are not finite: choose another"
        )
    return vectors


def _model(params: Text) -> Any:
    """The model, from its folder below root, from the hub's cache on this machine, or from the hub."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        text = "needs the package sentence-transformers: pip install 'memtrack[sentence-transformers]'"
        raise params.mistake("model", message=text) from None
    assert params.model is not None
    folder = input_path(params.root) / params.model
    name = str(folder) if folder.is_dir() else params.model
    if folder.is_dir() and params.revision is not None:
        text = f"is for a name on the hub, and {folder} is a folder: remove this key"
        raise params.mistake("revision", message=text)
    try:
        try:
            return SentenceTransformer(name, revision=params.revision, local_files_only=True)
        except OSError:  # it is not on this machine
            if folder.is_dir():
                raise
            return SentenceTransformer(name, revision=params.revision)
    except Exception as error:  # the hub, the network and damaged files raise many types
        reason = (str(error).splitlines() or [""])[0]
        text = f"{params.model} is neither a model below {params.root} nor one that can be downloaded: "
        raise params.mistake("model", message=f"{text}{type(error).__name__}: {reason}") from None

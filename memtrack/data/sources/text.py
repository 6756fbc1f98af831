"""Short texts as vectors."""

from __future__ import annotations

from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Text
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.rows import collected, read_rows
from memtrack.data.tables import row_name


def collect(params: Text) -> Collected:
    """All rows; each text is a vector of the first `dimensions` principal directions of the TF-IDF weights of
    its words. The directions come from the texts alone, without their labels.

    Raises:
        InputError: for texts without words, or too few words for the dimensions.

    Source: Deerwester et al., Indexing by Latent Semantic Analysis, 1990.
    """
    path, table = read_rows(params, [params.text_column])
    try:
        weights = TfidfVectorizer(sublinear_tf=True).fit_transform(table[params.text_column])
    except ValueError:
        text = f"the column {params.text_column!r} holds no words"
        raise InputError([Problem(path, message=text)]) from None
    empty = [row for row, words in zip(table.index, weights.getnnz(axis=1), strict=True) if not words]
    if empty:
        raise InputError(
            [Problem(path, message=f"{row_name(path, row)}: the text has no words") for row in empty]
        )
    most = min(weights.shape) - 1
    if params.dimensions > most:
        text = f"should be at most {most}: there are {weights.shape[0]} texts with {weights.shape[1]} words"
        raise params.mistake("dimensions", message=text)
    return collected(
        params, path, table, TruncatedSVD(params.dimensions, random_state=0).fit_transform(weights)
    )

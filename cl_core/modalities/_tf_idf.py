"""TF-IDF: what a text is without any training, by its words alone."""

import numpy as np
from numpy.typing import NDArray

from cl_core.modalities._text_processor import FIRST


def tf_idf(ids: NDArray[np.int64], idf: NDArray[np.float32], *, columns: int) -> NDArray[np.float32]:
    """Return how often a text has each word times its inverse document frequency, of unit length.

    Args:
        ids: (N, W) int64 of words; those below `FIRST` are left out.
        idf: (words,) float32 or longer, by id.
        columns: F. If there are more words, several share a column, half of them with the other sign, so that cosines
            are kept on average.

    Returns:
        (N, F) float32; a row of zeros without a word.

    Source: scikit-learn's TfidfVectorizer, to which it is equal if there are at most F words; the sharing is the
    feature hashing of Weinberger et al. 2009, "Feature hashing for large scale multitask learning", arXiv:0902.2206.
    """
    texts, places = np.nonzero(ids >= FIRST)
    words = ids[texts, places] - FIRST
    signs = 1 - 2 * (words // columns % 2)
    cells = np.bincount(texts * columns + words % columns, signs * idf[words + FIRST], minlength=len(ids) * columns)
    features = cells.reshape(len(ids), columns)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)

"""The commands that use embeddings: search them by a sample, and show all on a map."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import BaseModel, Field


class SearchHit(BaseModel):
    """A sample that was found."""

    rank: int = Field(description="1 is the nearest.")
    cosine: float = Field(description="Similarity of its embedding with the query's, -1 to 1.")
    id: str = Field(description="sha256 of the content.")
    label: str | None
    split: str | None
    origin: str = Field(description="File or row that it was embedded from.")


class SearchHits(BaseModel):
    """The result of a search."""

    hits: list[SearchHit] = Field(description="Nearest first.")
    page: Path = Field(description="HTML file that shows the samples.")
    missing: str = Field(description="Which samples could not be shown, and why; empty if all were.")


def search(
    file: Path,
    embeddings: Path | None = None,
    *,
    text: str = "",
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 24,
    output: Path = Path("search.html"),
) -> SearchHits:
    """Find the samples nearest to the one in a file, or to a text.

    Args:
        file: An image file, such as JPEG or PNG; of vectors a .npy or .csv file with one row; of texts a text file.
            It is left out with --text.
        embeddings: Parquet file that `cl embed` wrote. The sample is embedded by the version that made it.
        text: The text itself, in place of a file.
        count: Samples to find.
        output: HTML file to write, which shows the samples.
    """
    from cl_core.errors import InputError
    from tasks.embedding import search_embeddings

    if (embeddings is None) == (not text):
        raise InputError(
            "search takes a sample and the embeddings: `cl search FILE EMBEDDINGS`, or `cl search --text TEXT "
            f"EMBEDDINGS`; got {'--text and two files' if text else 'one file without --text'}"
        )
    searched, made = (text, file) if embeddings is None else (file, embeddings)
    found, missing = search_embeddings(searched, made, count=count, page=output)
    hits = [
        SearchHit(rank=rank, cosine=cosine, id=row.id, label=row.label, split=row.split, origin=row.origin)
        for rank, (row, cosine) in enumerate(found, start=1)
    ]
    return SearchHits(hits=hits, page=output.absolute(), missing=missing)


class ClassifiedImage(BaseModel):
    """An image and its most probable class."""

    origin: str = Field(description="File or row that it was read from.")
    id: str = Field(description="sha256 of the content.")
    name: str = Field(description="The most probable class.")
    probability: float = Field(description="Its probability; the table has those of all classes.")


class ClassifiedImages(BaseModel):
    """The result of a classification."""

    images: list[ClassifiedImage] = Field(description="In the order of the folder.")
    counts: dict[str, int] = Field(description="Images of each class.")
    rejected: list[str] = Field(description="Inputs that could not be decoded, and why.")
    table: Path = Field(description="File with the probabilities.")
    page: Path = Field(description="HTML file that shows the images of each class.")


def classify(
    folder: Path,
    *,
    labels: str,
    model_name: str,
    version: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    templates: tuple[str, ...] = ("{}",),
    output: Path = Path("classes.csv"),
    page: Path = Path("classes.html"),
) -> ClassifiedImages:
    """Classify images by the names of classes, without labeled images.

    Args:
        folder: Folder with images, at any depth.
        labels: Names of the classes, such as "cat, dog, bird".
        model_name: Registered model of images with texts.
        version: Number of its version; 0 is the champion.
        templates: Texts that the names are put into, in place of {}, such as "a photo of a {}". Of several, the mean
            counts.
        output: File to write the probabilities to: CSV, or Parquet if its name ends in .parquet.
        page: HTML file to write, which shows the images of each class.
    """
    from cl_core.embedding.classify import class_names
    from cl_core.specs import SourceSpec
    from tasks.embedding import classify_images, finished_model

    classes = class_names(labels)
    data = SourceSpec(source="image_folder", location=str(folder), source_options={"split_from": "none"})
    model = finished_model(model_name, version)
    made = classify_images(model, data, classes, templates, table=output, page=page)
    images = [
        ClassifiedImage(
            origin=row.origin,
            id=row.id,
            name=classes[predicted],
            probability=float(probabilities[predicted]),
        )
        for row, predicted, probabilities in zip(made.rows, made.predicted, made.probabilities, strict=True)
    ]
    return ClassifiedImages(
        images=images,
        counts={name: int((made.predicted == number).sum()) for number, name in enumerate(classes)},
        rejected=[f"{origin}: {detail}" for origin, _, detail in made.rejected],
        table=output.absolute(),
        page=page.absolute(),
    )


def atlas(
    embeddings: Path,
    *,
    umap: Annotated[bool, Parameter(negative=())] = False,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 5055,
) -> None:
    """Open a map of the embeddings in the browser.

    Args:
        embeddings: Parquet file that `cl embed` wrote.
        umap: Place the samples by UMAP, which takes minutes, instead of by the plane of largest variance.
        port: Port of the map on this machine.
    """
    from flows.cli.environment import check_home
    from tasks.embedding import open_atlas

    check_home()
    sys.exit(open_atlas(embeddings, umap=umap, port=port))

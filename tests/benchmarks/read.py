"""Reading a whole training split in a shuffled order, here and with five loaders; `BLOCK=read make bench`.

All hold the same decoded pixels on the local disk, in files that the system has cached, and give batches of uint8
tensors once. A pass opens the files again, as each epoch's loader does. Before anything is timed, each must give every
image exactly once, in another order than it was written.

They do not shuffle alike. Here, and in Hugging Face datasets with an index, the order is a permutation of the whole.
Streams of Hugging Face datasets, webdataset and Ray Data shuffle in a buffer of 2,000, mosaicml-streaming in blocks.
"""

import argparse
import hashlib
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from epoch import Block, images_of, our_job
from numpy.typing import NDArray
from rounds import Contestant, end_if_void, installed, measure, spread, this_machine
from torch import Tensor

from cl_core.columns import SamplePool
from cl_core.data.cache import load_split
from cl_core.data.sampling import shuffled_batches

BATCH, BUFFER, SHARDS, LOADERS = 256, 2_000, 10, 2
HERE = "here"
Pass = Callable[[int], Iterator[Tensor]]
"""From the number of the epoch to its batches, each (N, H, W, C) uint8."""


def here(images: NDArray[np.uint8], folder: Path) -> Pass:
    """Read the training cache, as the training loop does."""
    block = Block("mlp", images.shape[1], images.shape[3], BATCH, len(images) // BATCH)
    cache = our_job(block, images, folder, threads=1).cache

    def batches(epoch: int) -> Iterator[Tensor]:
        split = load_split(cache, "train")
        pool = SamplePool(split.columns)
        for chosen in shuffled_batches(seed=0, epoch=epoch, rows=len(split), batch_size=BATCH):
            yield pool.batch(np.sort(chosen))[0]

    return batches


def hugging_face(images: NDArray[np.uint8], folder: Path, *, streamed: bool) -> Pass:
    """Read Arrow files of arrays, by an index of all rows or as a stream with a buffer."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Array3D(images.shape[1:], "uint8")})
    rows = datasets.Dataset.from_generator(
        lambda: ({"image": image} for image in images), features=features, cache_dir=str(folder / "made")
    )
    rows.save_to_disk(folder / "saved")

    def batches(epoch: int) -> Iterator[Tensor]:
        opened = datasets.load_from_disk(folder / "saved").with_format("numpy")
        shuffled = (
            opened.to_iterable_dataset(num_shards=SHARDS).shuffle(seed=epoch, buffer_size=BUFFER)
            if streamed
            else opened.shuffle(seed=epoch, keep_in_memory=True)
        )
        for batch in shuffled.iter(batch_size=BATCH):
            yield torch.from_numpy(np.asarray(batch["image"], np.uint8))

    return batches


def webdataset(images: NDArray[np.uint8], folder: Path) -> Pass:
    """Read tar files of raw bytes."""
    import webdataset as wds

    folder.mkdir()
    with wds.ShardWriter(f"{folder}/%04d.tar", maxcount=1000, verbose=0) as writer:
        for number, image in enumerate(images):
            writer.write({"__key__": f"{number:06d}", "bin": image.tobytes()})
    shards = [str(file) for file in sorted(folder.glob("*.tar"))]

    def batches(epoch: int) -> Iterator[Tensor]:
        stream = wds.DataPipeline(
            wds.SimpleShardList(shards, seed=epoch),
            wds.tarfile_to_samples(),
            wds.shuffle(BUFFER),
            wds.map(lambda sample: np.frombuffer(sample["bin"], np.uint8).reshape(images.shape[1:])),
            wds.batched(BATCH, collation_fn=np.stack),
        )
        yield from map(torch.from_numpy, stream)

    return batches


def mosaicml_streaming(images: NDArray[np.uint8], folder: Path, *, loaders: int) -> Pass:
    """Read MDS files of arrays."""
    from streaming import MDSWriter, StreamingDataset

    shape = ",".join(map(str, images.shape[1:]))
    with MDSWriter(out=str(folder), columns={"image": f"ndarray:uint8:{shape}"}) as writer:
        for image in images:
            writer.write({"image": image})

    def batches(epoch: int) -> Iterator[Tensor]:
        rows = StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=epoch, batch_size=BATCH)
        for batch in torch.utils.data.DataLoader(rows, batch_size=BATCH, num_workers=loaders):
            yield batch["image"]

    return batches


def ray_data(images: NDArray[np.uint8], folder: Path) -> Pass:
    """Read Parquet files of raw bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray
    import ray.data

    ray.init(num_cpus=LOADERS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    folder.mkdir()
    width = images[0].size
    for number, part in enumerate(np.split(images, SHARDS)):
        raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(part), [None, pa.py_buffer(part.tobytes())])
        pq.write_table(pa.table({"image": raw}), folder / f"{number}.parquet", compression="NONE", use_dictionary=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def batches(epoch: int) -> Iterator[Tensor]:
        rows = ray.data.read_parquet(str(folder))
        for batch in rows.iter_batches(
            batch_size=BATCH,
            batch_format="pyarrow",
            local_shuffle_buffer_size=BUFFER,
            local_shuffle_seed=epoch,
        ):
            joined = b"".join(batch["image"].to_pylist())
            yield torch.from_numpy(np.frombuffer(joined, np.uint8).copy().reshape(-1, *images.shape[1:]))

    return batches


def check(images: NDArray[np.uint8], name: str, read: Pass) -> None:
    """Refuse to compare what does not give every image once, shuffled."""
    found = [hashlib.sha256(image).digest() for batch in read(0) for image in batch.numpy()]
    written = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images]
    assert sorted(found) == sorted(written), f"{name} gave {len(found)} images, other than the {len(written)} written"
    assert found != written, f"{name} does not shuffle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40 * BATCH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one round on few images, to see that everything runs")
    chosen = parser.parse_args()
    images = images_of(Block("mlp", 32, 3, BATCH, 10 if chosen.small else chosen.images // BATCH))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / HERE).mkdir()
        readers = {HERE: here(images, folder / HERE)}
        if installed("datasets"):
            readers["Hugging Face datasets"] = hugging_face(images, folder / "index", streamed=False)
            readers["Hugging Face datasets, streamed"] = hugging_face(images, folder / "stream", streamed=True)
        if installed("webdataset"):
            readers["webdataset"] = webdataset(images, folder / "tar")
        if installed("streaming"):
            readers["mosaicml-streaming"] = mosaicml_streaming(images, folder / "mds", loaders=0)
            name = f"mosaicml-streaming, {LOADERS} loaders"
            readers[name] = mosaicml_streaming(images, folder / "mds-loaders", loaders=LOADERS)
        readers["Ray Data"] = ray_data(images, folder / "parquet")
        for name, read in readers.items():
            check(images, name, read)
        epochs = count(1)

        def contestant(read: Pass) -> Contestant:
            return Contestant(lambda: sum(len(batch) for batch in read(next(epochs))))

        measured = measure(
            {name: contestant(read) for name, read in readers.items()}, rounds=1 if chosen.small else chosen.rounds
        )
    print(
        f"{this_machine()}\n\n{len(images):,} images of 32 px, a pass\n\n| | images a second | times as slow as here |"
    )
    print("|---|---|---|")
    for name in readers:
        ratios = spread(measured.against(HERE, name))
        print(f"| {name} | {statistics.median(measured.rates[name]):,.0f} | {ratios} |")
    end_if_void(measured, small=chosen.small)


if __name__ == "__main__":
    main()

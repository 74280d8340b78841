"""Pairs of texts from the cache to weights, here and with sentence-transformers; `BLOCK=texts make bench`.

Both train the mean of word vectors on the same pairs, in the same batches, with in-batch negatives: here the training
loop with all that it does beside (order, health checks, progress, a checkpoint), there the library's trainer with
`StaticEmbedding` and `MultipleNegativesRankingLoss`, and a tokenizer of the same words. Its loss runs with the
negatives that it has by default, the second texts of other pairs, and with those of SimCLR, which are four times as
many products. A last contestant is this project's bag with its n-grams, which the library does not have. Before
anything is timed, both must find the same words.
"""

import argparse
import random
import statistics
import string
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch import here
from jobs import prepared_job
from rounds import Contestant, end_if_void, installed, measure, spread, this_machine

from cl_core.modalities._text_processor import FIRST
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.job import TrainingJob

PEER, BY_DEFAULT = "sentence-transformers, same negatives", "sentence-transformers, by default"
_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
WORDS, FEATURES, LENGTH, RATE = 20_000, 256, 128, 1e-2


def pairs_of(count: int) -> list[tuple[str, str]]:
    """Return pairs of 4 to 16 words each, which are as frequent as those of a language: the n-th as 1 / n."""
    rng = random.Random(0)
    names = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(WORDS)]
    words = list(dict.fromkeys(names))
    weights = [1 / (10 + number) for number in range(len(words))]

    def text() -> str:
        return " ".join(rng.choices(words, weights, k=rng.randint(4, 16)))[:LENGTH]

    return [(text(), text()) for _ in range(count)]


def job_of(file: Path, folder: Path, *, batch_size: int, buckets: int, threads: int) -> TrainingJob:
    """Ingest the pairs, and cache them as a retraining does."""
    options = {"length": LENGTH, "buckets": buckets, "least_texts": 1}
    data = DataSpec(
        name="pairs",
        source="texts",
        location=str(file),
        modality="text_pair",
        modality_options=options,
        test_share=1e-9,
    )
    training = TrainingSpec(
        method_options={"projector_hidden": 0},
        loss_options={"temperature": 0.05},
        views="both_sides",
        encoder="bag",
        encoder_options={"features": FEATURES, "dropout": 0},
        epochs=1,
        batch_size=batch_size,
        warmup_epochs=0.1,
        learning_rate=RATE,
        held_out_share=0,
    )
    return prepared_job(data, training, ComputeSpec(threads=threads), folder)


class Peer:
    """The same with sentence-transformers, as its documentation trains a static embedding."""

    def __init__(self, pairs: list[tuple[str, str]], *, batch_size: int, directions: tuple[str, ...]) -> None:
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        names = sorted({word for pair in pairs for text in pair for word in text.split()})
        vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *names])}
        self.tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        self.tokenizer.normalizer = normalizers.Lowercase()
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        torch.manual_seed(0)
        module = StaticEmbedding(self.tokenizer, embedding_dim=FEATURES)
        self.model = SentenceTransformer(modules=[module], device="cpu")
        self.loss = MultipleNegativesRankingLoss(self.model, scale=20.0, directions=directions)
        first, second = (list(column) for column in zip(*pairs, strict=True))
        self.data = Dataset.from_dict({"anchor": first, "positive": second})
        self.batch_size = batch_size

    def epoch(self) -> int:
        """Train an epoch; return how many pairs that were."""
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

        with tempfile.TemporaryDirectory() as folder:
            arguments: dict[str, Any] = {
                "output_dir": folder,
                "num_train_epochs": 1,
                "per_device_train_batch_size": self.batch_size,
                "learning_rate": RATE,
                "use_cpu": True,
                "save_strategy": "no",
                "logging_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
                "dataloader_drop_last": True,
            }
            trainer = SentenceTransformerTrainer(
                model=self.model,
                args=SentenceTransformerTrainingArguments(**arguments),
                train_dataset=self.data,
                loss=self.loss,
            )
            trainer.train()
        return len(self.data) // self.batch_size * self.batch_size


def check(job: TrainingJob, peer: Peer, pairs: list[tuple[str, str]]) -> None:
    """Refuse to compare what does not do the same."""
    processor = job.processor
    rows = np.zeros((64, LENGTH), np.uint8)
    for row, (text, _) in zip(rows, pairs, strict=False):
        row[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    ours = processor.layout.word_ids(processor((torch.from_numpy(rows),)))
    theirs = [peer.tokenizer.encode(text).ids for text, _ in pairs[:64]]
    assert [int((found > 0).sum()) for found in ours] == [len(ids) for ids in theirs]
    assert processor.layout.words - FIRST == peer.tokenizer.get_vocab_size() - 2
    assert int(ours.min()) >= 0 and not bool((ours == 1).any()), "a word is not in the vocabulary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="one round of two steps, to see that everything runs")
    chosen = parser.parse_args()
    print(this_machine())
    steps, size = (2, 32) if chosen.small else (chosen.steps, chosen.batch_size)
    pairs = pairs_of(steps * size)
    contestants, has_peer = {}, all(map(installed, ("sentence_transformers", "datasets")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "pairs.tsv"
        file.write_text("\n".join(["text\tsecond", *("\t".join(pair) for pair in pairs)]), encoding="utf-8")
        for title, buckets in (("here, words", 0), ("here, words and n-grams", 65_536)):
            job = job_of(file, folder / title, batch_size=size, buckets=buckets, threads=chosen.threads)
            contestants[title] = Contestant(lambda job=job: here(job), chosen.threads)
            if has_peer and not buckets:
                for named, directions in ((PEER, _DIRECTIONS), (BY_DEFAULT, _DIRECTIONS[:1])):
                    peer = Peer(pairs, batch_size=size, directions=directions)
                    check(job, peer, pairs)
                    contestants[named] = Contestant(peer.epoch, chosen.threads)
        measured = measure(contestants, rounds=1 if chosen.small else chosen.rounds, title=f"{steps} steps of {size}")
    print(f"\n{measured.title} pairs\n\n| | pairs a second | times {PEER} | by CPU seconds |\n|---|---|---|---|")
    for title in contestants:
        rate = f"{statistics.median(measured.rates[title]):,.0f}"
        if not has_peer:
            print(f"| {title} | {rate} | | |")
            continue
        ratio = spread(measured.against(title, PEER), "{:.2f}")
        of_cpu = [mine / its for mine, its in zip(measured.cpu_rates[title], measured.cpu_rates[PEER], strict=True)]
        print(f"| {title} | {rate} | {ratio} | {spread(of_cpu, '{:.2f}')} |", flush=True)
    end_if_void(measured, small=chosen.small)


if __name__ == "__main__":
    main()

"""The same index on an object store: a local stand-in for S3. Skipped where moto is not installed."""

from __future__ import annotations

import numpy as np
import pytest

from binder import Embeddings, Index, StoreError
from binder.space import vectors

server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")

DIM = 16


def some(n=1, seed=0, prefix="n"):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, DIM)))
    return Embeddings(z, "s", tuple(f"{prefix}{i}" for i in range(n)))


@pytest.fixture(scope="module")
def options():
    """What LanceDB needs to reach a bucket `media` on the stand-in."""
    import boto3

    standin = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    standin.start()
    host, port = standin.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="media")
    yield {"endpoint": url, "region": "us-east-1", "allow_http": "true", **keys}
    standin.stop()


def test_an_index_on_an_object_store_does_what_a_folder_does(options, tmp_path):
    place = "s3://media/a.idx"
    with pytest.raises(StoreError, match="no index there"):
        Index.open(place, storage_options=options)
    index = Index.create(place, some(), storage_options=options)
    z = some(30)
    assert index.add(image=z, audio=some(4, 1, "a"), metadata=None).inserted == 34
    assert index.add(image=z).unchanged == 30
    again = Index.open(place, storage_options=options)
    assert (len(again), again.modalities()) == (34, ["audio", "image"])
    order = sorted(range(30), key=lambda i: -float(z.vectors[i] @ z.vectors[0]))
    assert [hit.item for hit in again.search(z[0], k=5, modalities="image")] == [f"n{i}" for i in order[:5]]
    assert again.delete(image=["n0", "n1"]) == 2
    again.add(image=some(2, 7, "late"), metadata={"n": [1, 2], "text": ["rain", "sun"]})
    assert [hit.item for hit in again.search(z[0], where="n = 2")] == ["late1"]
    assert [hit.item for hit in again.search(text="rain", mode="text")] == ["late0"]
    again.optimize(keep_versions_s=0)
    assert (again.verify(), len(again)) == ([], 34)
    assert again.export(tmp_path / "all.parquet") == 34
    with pytest.raises(StoreError, match="already"):
        Index.create(place, some(), storage_options=options)


def test_two_writers_on_an_object_store_lose_nothing(options):
    place = "s3://media/b.idx"
    Index.create(place, some(), storage_options=options)
    from concurrent.futures import ThreadPoolExecutor

    def write(name):
        index = Index.open(place, storage_options=options)
        for i in range(4):
            index.add(image=some(3, i, f"{name}{i}-"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, "xy"))
    index = Index.open(place, storage_options=options)
    assert (len(index), index.verify()) == (24, [])

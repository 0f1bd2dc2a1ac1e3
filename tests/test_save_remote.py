# SPDX-License-Identifier: Apache-2.0
"""Saving to S3, by boto3 and by the S3 connector for PyTorch, against a server of moto on
loopback; and through fsspec. What is not installed is skipped."""

import importlib
import os
import threading
import warnings

import pytest

MIB = 1 << 20
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
# Warnings of botocore, werkzeug ...; and no sanitizer around their libraries.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def optional(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """The address of an S3 server with an empty bucket, "bucket"."""
    server_module, boto3 = optional("moto.server"), optional("boto3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        nothing = tmp_path_factory.mktemp("aws") / "nothing"  # no settings of whoever runs this
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, os.fspath(nothing))
        server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            address = f"http://{host}:{port}"
            boto3.client("s3", endpoint_url=address).create_bucket(Bucket="bucket")
            yield address
        finally:
            server.stop()


@pytest.fixture
def client(endpoint):
    return optional("boto3").client("s3", endpoint_url=endpoint)


@pytest.fixture
def stored(client):
    return lambda key: client.get_object(Bucket="bucket", Key=key)["Body"].read()


@pytest.fixture(scope="module")
def obj(torch):
    generator = torch.Generator().manual_seed(0)
    sizes = {"small": 10, "middling": 100_000, "large": 11 * MIB + 3, "more": 3 * MIB}
    return {
        name: torch.randint(256, (size,), dtype=torch.uint8, generator=generator)
        for name, size in sizes.items()
    }


@pytest.fixture(scope="module")
def expected(torch, obj, tmp_path_factory):
    import ptio.torch

    with open(tmp_path_factory.mktemp("expected") / "file", "w+b") as file:
        ptio.torch.save(obj, file)
        file.seek(0)
        return file.read()


@pytest.fixture
def save(torch, obj):
    import ptio.torch

    return lambda f, **options: ptio.torch.save(obj, f, **options)


# --- S3 -------------------------------------------------------------------------------------------


class MultipartUpload:
    """An object in S3 that is uploaded while it is written, in parts of 5 MiB and more."""

    def __init__(self, client, key):
        self.client, self.target = client, {"Bucket": "bucket", "Key": key}
        self.id = client.create_multipart_upload(**self.target)["UploadId"]
        self.waiting, self.parts = bytearray(), []

    def write(self, data):
        self.waiting += data
        if len(self.waiting) >= 5 * MIB:
            self._upload()
        return len(data)

    def _upload(self):
        number = len(self.parts) + 1
        part = {"PartNumber": number, "UploadId": self.id, "Body": bytes(self.waiting)}
        answer = self.client.upload_part(**self.target, **part)
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.waiting.clear()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.client.abort_multipart_upload(**self.target, UploadId=self.id)
            return
        self._upload()
        self.client.complete_multipart_upload(
            **self.target, UploadId=self.id, MultipartUpload={"Parts": self.parts}
        )


def test_a_multipart_upload(save, client, stored, expected):
    with MultipartUpload(client, "multipart.pt") as upload:
        save(upload)
    assert len(upload.parts) >= 2
    assert stored("multipart.pt") == expected


def test_an_upload_that_is_given_up(save, client):
    def stop(done, total):
        if done > 6 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), MultipartUpload(client, "stopped.pt") as upload:
        save(upload, progress=stop)
    listed = client.list_objects_v2(Bucket="bucket", Prefix="stopped.pt")
    assert listed["KeyCount"] == 0


def test_an_upload_that_reads_from_a_pipe(save, client, stored, expected):
    into, out = os.pipe()

    def upload():
        with os.fdopen(into, "rb") as source:
            client.upload_fileobj(source, "bucket", "piped.pt")

    thread = threading.Thread(target=upload)
    thread.start()
    with os.fdopen(out, "wb", buffering=0) as file:
        save(file)
    thread.join(60)
    assert stored("piped.pt") == expected


@pytest.fixture
def connector(endpoint):
    module = optional("s3torchconnector")
    config = module.S3ClientConfig(force_path_style=True, max_attempts=2)
    return module.S3Checkpoint("us-east-1", endpoint=endpoint, s3client_config=config)


def test_the_s3_connector_for_pytorch(torch, save, connector, stored, expected, obj):
    import ptio.torch

    with connector.writer("s3://bucket/connector.pt") as writer:
        save(writer)
    assert stored("connector.pt") == expected
    for load in (torch.load, ptio.torch.load):
        with connector.reader("s3://bucket/connector.pt") as reader:
            loaded = load(reader, weights_only=True)
        assert all(torch.equal(loaded[name], obj[name]) for name in obj)


# --- fsspec ---------------------------------------------------------------------------------------


@pytest.fixture
def fsspec():
    return optional("fsspec")


def test_fsspec_in_memory(save, fsspec, expected):
    memory = fsspec.filesystem("memory")
    with memory.open("/saved/model.pt", "wb") as file:
        save(file)
    try:
        assert memory.cat("/saved/model.pt") == expected
    finally:
        memory.rm("/saved", recursive=True)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_fsspec_files_of_a_local_folder(save, fsspec, expected, tmp_path, compression):
    address = f"file://{tmp_path}/model.pt"
    with fsspec.open(address, "wb", compression=compression) as file:
        save(file)
    with fsspec.open(address, "rb", compression=compression) as file:
        assert file.read() == expected


def test_fsspec_transactions(save, fsspec, expected, tmp_path):
    local, path = fsspec.filesystem("file"), tmp_path / "model.pt"
    with local.transaction:
        with local.open(os.fspath(path), "wb") as file:
            save(file)
        assert not path.exists()
    assert path.read_bytes() == expected

    def stop(done, total):
        raise KeyboardInterrupt

    transaction = local.transaction
    with pytest.raises(KeyboardInterrupt), transaction, local.open(os.fspath(path), "wb") as file:
        save(file, progress=stop)
    assert path.read_bytes() == expected
    assert os.listdir(tmp_path) == ["model.pt"]

"""A real S3 server on loopback, which a test may stop, kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from s3fs import S3FileSystem

from cluster.local.binaries import GoServer
from tests.ports import free_port

TESTS = Path(__file__).parents[2]
VERSITYGW = GoServer(
    "versitygw", TESTS / "servers" / "versitygw", "github.com/versity/versitygw/cmd/versitygw"
)
REGION = "eu-central-1"
ACCESS, SECRET = "AKIA-of-the-tests", "a/secret+that-nobody/may-see"


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(2400):
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            assert process.poll() is None, f"{process.args} ended"
            time.sleep(0.025)
        else:
            return
    pytest.fail(f"{url} did not answer")


@dataclass
class S3Server:
    """versitygw over a folder: each bucket is a folder in `root`, each object a file in it."""

    binary: Path
    folder: Path
    port: int = field(default_factory=free_port)
    bucket: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets so that botocore, and so s3fs, finds the server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": REGION,
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.root.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self.binary, "--access", ACCESS, "--secret", SECRET, "--quiet"),
                    *("--region", REGION),
                    *("--port", self.address, "--health", "/health", "--keep-alive"),
                    *("posix", *self._beside(), self.root),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until_it_answers(f"http://{self.address}/health", self.process)

    @property
    def url(self) -> str:
        """A setting of `blobs.url`."""
        return f"s3://{self.bucket}/site"

    @property
    def replaces_at_once(self) -> bool:
        """Whether content and checksum of an object change together: as attributes of its file."""
        try:
            os.setxattr(self.root, "user.atalaia", b"")
        except OSError:
            return False
        return True

    def _beside(self) -> list[str]:
        """File systems of containers may have no extended attributes."""
        if self.replaces_at_once:
            return []
        sidecar = self.folder / "sidecar"
        sidecar.mkdir(exist_ok=True)
        return ["--sidecar", str(sidecar)]

    def put(self, key: str, path: Path) -> str:
        """An object whose content is the file's; its URL."""
        url = f"s3://{self.bucket}/{key}"
        S3FileSystem().put_file(str(path), url)
        return url

    def make_bucket(self, name: str) -> None:
        """Make it, and let `url` and `objects` speak of it."""
        self.bucket = name
        (self.root / name).mkdir()

    def objects(self) -> dict[str, bytes]:
        """Every object of the bucket by its key, as it lies on the server's disk."""
        folder = self.root / self.bucket
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and ".sgwtmp" not in path.parts
        }

    @property
    def sent_bytes(self) -> int:
        """All that it has written so far: answers, and files."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).io_counters().write_chars)

    def kill(self) -> None:
        """SIGKILL: connections break in the middle of what they carry."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def hang(self) -> None:
        """From now on it takes connections and answers nothing, until `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            self.process.wait(60)

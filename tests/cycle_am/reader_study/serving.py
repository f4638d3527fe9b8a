"""A small study with drawn lesions, and a real server of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import uvicorn
import yaml
from PIL import Image

from cycle_am.reader_study.files import (
    IMAGES,
    Item,
    Key,
    KeyItem,
    Reader,
    Study,
    opaque,
    read_study,
    seal,
    write_key,
    write_study,
)
from cycle_am.reader_study.web.links import hashed
from cycle_am.reader_study.web.serve import read_access
from cycle_am.reader_study.web.server import build_app
from cycle_am.reader_study.web.store import open_store, sqlite_url

ROOT = Path(__file__).resolve().parents[3]
METHODS = {"cycle_am": "CycleAM", "deep_shap": "DeepSHAP", "deep_taylor": "DeepTaylor", "lrp": "LRP"}
CRITERIA = ["intuitive_validity", "semantic_meaningfulness", "image_quality"]
HEADERS = {"X-Reader-Study": "1", "Content-Type": "application/json"}
COORDINATOR_TOKEN = "coordinator-token"
P = (0.128, 0.931)  # of a benign and a malignant lesion


def token(reader: str) -> str:
    return f"token-of-{reader}"


def own(page: str) -> dict[str, str]:
    """The header that says whose page this is, as the pages' programs send it."""
    return {"X-Reader-Page": re.search(r'data-reader="([0-9a-f]{32})"', page)[1]}


def shown(item: Item) -> dict[str, str | int]:
    """What a reader has before him, as the pages' programs send it."""
    view = {"window": 1200, "level": -600, "opacity": 60, "zoom": 100}
    return {"original": item.original, "overlay": item.overlay} | view


def make_study(
    folder: Path, lesions=2, methods=2, repeats=1, readers=2, size=64, languages=("en", "de")
) -> Study:
    """Write a whole study: public and sealed part, links' hashes."""
    chosen = dict(list(METHODS.items())[:methods])
    cases = [f"LIDC-IDRI-{number:04d}-n1" for number in range(lesions)]
    shown = [(case, None) for case in cases] + [(case, case) for case in cases[:repeats]]
    items, key_items, questions, first = {}, {}, [], {}
    (folder / IMAGES).mkdir(parents=True)
    for case, repeated in shown:
        question = []
        for method in chosen:
            name, original, overlay = opaque(), f"{opaque()}.png", f"{opaque()}.png"
            seed = cases.index(case)
            draw_lesion(seed, size).save(folder / IMAGES / original)
            draw_overlay(seed + 7 * list(chosen).index(method), size).save(folder / IMAGES / overlay)
            items[name] = Item(original, overlay, P[seed % 2])
            key_items[name] = KeyItem(case, seed % 2, method, first.get((case, method)) if repeated else None)
            first.setdefault((case, method), name)
            question.append(name)
        questions.append(question)
    mirrored = [question[::-1] for question in questions[::-1]]
    key = Key("3f2a", chosen, key_items)
    study = Study(
        study_id="3f2a",
        created="2026-01-01",
        seal=seal(key),
        criteria=CRITERIA,
        low=-4,
        high=4,
        fov_mm=45.0,
        languages=list(languages),
        texts={
            code: yaml.safe_load((ROOT / f"conf/study/texts/{code}.yaml").read_text()) for code in languages
        },
        items=dict(sorted(items.items())),
        readers={
            f"r{number:02d}": Reader("AB"[number % 2], [questions, mirrored][number % 2])
            for number in range(1, readers + 1)
        },
    )
    write_study(folder, study)
    write_key(folder, key)
    access = {
        "readers": {name: hashed(token(name)) for name in study.readers},
        "coordinator": hashed(COORDINATOR_TOKEN),
    }
    (folder / "access.json").write_text(json.dumps(access))
    return study


def draw_lesion(seed: int, size: int) -> Image.Image:
    """A nodule with spicules before noisy lung, a vessel and the chest wall; 8 bit, -1000 to 400 HU."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius, angle = np.hypot(x - 0.05, y + 0.03), np.arctan2(y, x)
    edge = 0.3 + 0.05 * np.sin((5 + seed) * angle + seed) + 0.03 * np.sin(11 * angle)
    hu = -850 + 60 * smooth(rng, size, 4) + 40 * smooth(rng, size, 1)
    hu += 890 / (1 + np.exp((radius - edge) / 0.025)) + 700 * np.exp(-(((x + y * 0.5 - 0.6) / 0.035) ** 2))
    hu = np.where(x + 0.25 * y**2 < -0.86, 60 + 30 * smooth(rng, size, 2), hu)
    return Image.fromarray(((hu.clip(-1000, 400) + 1000) / 1400 * 255).round().astype(np.uint8), "L")


def draw_overlay(seed: int, size: int) -> Image.Image:
    """Red and blue clouds, opaque where strong."""
    field = smooth(np.random.default_rng(100 + seed), size, size / 12)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    strength = field * np.exp(-(x**2 + y**2) / 0.35)
    strength /= np.abs(strength).max()
    colour = np.where(strength[..., None] > 0, [178, 24, 43], [33, 102, 172])
    return Image.fromarray(np.dstack([colour, 255 * np.abs(strength) ** 0.7]).astype(np.uint8), "RGBA")


def smooth(rng, size, width):
    """Gaussian noise of unit variance, (size, size), correlated over `width` pixels."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    kernel = np.exp(-2 * (np.pi * width * frequency) ** 2)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * kernel).real
    return field / field.std()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The study's address, served by a thread."""
    study = read_study(folder)
    store = open_store(sqlite_url(folder / "answers.db"), study.study_id, study.seal, study.readers)
    store.admit(read_access(folder / "access.json", study))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(build_app(study, store, folder / IMAGES), log_level="warning"))
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    store.close()


class Server:
    """`python study.py action=serve` in a process of its own, which may be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.command = [
            sys.executable, "study.py", "action=serve", f"dir={folder}", f"study.serve.port={self.port}", *options,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        deadline = time.monotonic() + 200  # a busy machine takes long to import everything
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError(self.log.read_text())

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    @contextmanager
    def client(self, reader: str) -> Iterator[httpx.Client]:
        """A reader's browser, logged in; he has consented."""
        with httpx.Client(base_url=self.url, headers=HEADERS, timeout=30) as client:
            client.headers.update(own(client.get(f"/s/{token(reader)}").raise_for_status().text))
            client.post("/consent", json={}).raise_for_status()
            yield client

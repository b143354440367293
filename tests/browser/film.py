"""The moving picture of the README: a real run's dashboard in a real JupyterLab, two pictures for each generation.

    python tests/browser/film.py tutorials/images/dashboard.gif

Nothing is drawn by hand. The run is that of the quickstart, `ev.Experiment("CartPole-v1", seed=4)` with everything else at
its default; it is shown faster than it was, and its last picture stays for a while.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.lab import Notebook, Server, browser, write_notebook  # noqa: E402

GENERATIONS, LOOKS = 16, 2
COLOURS = 64
CELL = "import evolab as ev\nexp = ev.Experiment('CartPole-v1', seed=4, target=475.0)\nboard = exp.dashboard()\nboard"
WIDTH, HEIGHT = 1130, 1700
TALL = 1130
"""Pixels of the board that the picture shows."""


COUNT = "Number((document.querySelector('.ev-tiles b')?.textContent || '0').replace(/\\D/g, ''))"
REST = "!document.querySelector('.ev-is-running')"
"""Parts of JavaScript: the generation that the board shows, and whether nothing runs."""


def record(page) -> Image.Image:
    """The board as it looks."""
    box = page.locator(".evolab").first
    png = box.screenshot()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return image.crop((0, 0, image.width, min(TALL, image.height)))


def film(path: Path) -> None:
    """Record, and write an animated GIF with the colours of its last picture."""
    pictures = []
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        server = Server(Path(folder), ROOT)
        try:
            write_notebook(Path(folder) / "film.ipynb", [CELL])
            lab = Notebook(chromium, server, "film.ipynb", WIDTH, HEIGHT)
            lab.run_all()
            lab.page.wait_for_selector(".evolab .ev-run")
            lab.page.evaluate("window.jupyterapp.shell.collapseLeft()")
            lab.page.wait_for_timeout(1500)
            pictures.append(record(lab.page))
            lab.page.locator(".ev-run").first.click()
            seen, over = 0, False
            while seen < GENERATIONS and not over:
                lab.until(f"n => {COUNT} > n || {REST}", seen)
                lab.page.wait_for_timeout(700)
                seen, over = lab.page.evaluate(COUNT), lab.page.evaluate(REST)
                pictures += [record(lab.page) for _ in range(LOOKS)]  # the episode goes on meanwhile
                write(pictures, path)  # what there is so far
                print(seen, lab.page.locator(".ev-now").first.inner_text().replace("\n", " | "), flush=True)
            lab.close()
        finally:
            server.close()
    write(pictures, path)


def write(pictures: list[Image.Image], path: Path) -> None:
    """An animated GIF: the same palette throughout, so that only what moved is stored."""
    size = (min(one.width for one in pictures), min(one.height for one in pictures))
    palette = pictures[-1].crop((0, 0, *size)).quantize(COLOURS, Image.Quantize.FASTOCTREE)
    frames = [one.crop((0, 0, *size)).quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    times = [1200, *[280] * (len(frames) - 2), 4000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    print(path, f"{path.stat().st_size / 1e6:.2f} MB, {len(frames)} pictures of {size[0]} x {size[1]}")


if __name__ == "__main__":
    film(Path(sys.argv[1]))

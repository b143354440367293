"""A recorded episode: shown in a notebook, saved as a film, played in the dashboard."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.history.display import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

COLOURS = 64
EVERY = 3  # of 50 or 60 frames a second every third is enough to follow a policy
MILLISECONDS = 60  # a multiple of 10: GIF counts in hundredths of a second
SUFFIXES = (".gif", ".webp", ".png", ".mp4")


class NoPictures(ValueError):
    """There is no environment to play in, or it draws nothing."""


@dataclass(eq=False)
class Rollout:
    """Recorded episodes of one policy: pictures, observations and returns.

    Attributes:
        returns: undiscounted return of each episode.
        frames: [H, W, 3] uint8 each, all episodes in a row, one more than an episode has steps; empty where
            the environment draws nothing.
        observations: what the policy saw, one per step.
        fps: frames a second at which the environment runs.
        agent: id of the agent that acted, where known.
        generation: the generation it was taken from, where known.
    """

    returns: list[float]
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    observations: Sequence[Any] = ()
    fps: float = 30
    agent: int | None = None
    generation: int | None = None

    def __repr__(self) -> str:
        return f"Rollout({self._words()}): .returns" + (", .save('film.gif')" if self.frames else "")

    def _words(self) -> str:
        n = len(self.returns)
        mean = sum(self.returns) / n if n else math.nan
        episodes = "1 episode, return" if n == 1 else f"{n} episodes, mean return"
        return f"{episodes} {number(mean)}, {len(self.frames)} frames"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle = {"text/plain": repr(self)}
        if self.frames:
            png = self.animation("PNG")
            source = base64.b64encode(png).decode()
            bundle["image/png"] = source
            bundle["text/html"] = (
                f'<figure style="margin:0"><img alt="{escape(self._words())}" '
                f'src="data:image/png;base64,{source}" style="max-width:100%;border-radius:4px">'
                f'<figcaption style="font-size:13px">{escape(self._words())}</figcaption></figure>'
            )
        return bundle

    def save(self, path: str | PathLike[str], every: int = EVERY, scale: float = 0.5) -> Path:
        """Write the frames as a film; the suffix chooses the format.

        Args:
            path: ends in .gif, .webp, .png (animated) or .mp4.
            every: keep every n-th frame.
            scale: of width and height.

        Raises:
            ValueError: if there are no frames or the suffix is unknown.
            ImportError: if .mp4 is asked for without the extra `video`.
        """
        path = checks.path("path", path)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path.name}: a rollout is saved as {', '.join(SUFFIXES)}.")
        if path.suffix.lower() == ".mp4":
            _save_mp4(path, self._pictures(every, scale), self._milliseconds(every))
        else:
            path.write_bytes(self.animation(path.suffix[1:].upper(), every, scale))
        return path

    def animation(self, form: str = "GIF", every: int = EVERY, scale: float = 0.5) -> bytes:
        """The film as bytes: "GIF", "WEBP" or "PNG" (animated), with one palette for all frames."""
        pictures = self._pictures(every, scale)
        if form != "WEBP":
            pictures = _one_palette(pictures)
        file = io.BytesIO()
        duration = self._milliseconds(every)
        options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": 0}
        if form == "GIF":
            options |= {"optimize": False, "disposal": 1}
        pictures[0].save(file, form, duration=duration, **options)
        return file.getvalue()

    def sprites(self, most: int = 90_000, frames: int = 100, width: int = 240) -> dict[str, Any]:
        """One picture that holds many frames in a grid, and what a player needs to cut it up.

        Args:
            most: bytes of the picture as a data URI; width and quality go down until it fits.
            frames: at most so many of the rollout's frames, evenly spaced.
            width: of one frame in pixels, at most.

        Returns:
            source (a data URI), frames, columns, width, height, milliseconds, returns,
            agent, generation.

        Raises:
            ValueError: if there are no frames.
        """
        every = max(EVERY, math.ceil(len(self.frames) / frames))
        full = self._pictures(every, 1.0)
        columns = math.ceil(math.sqrt(len(full)))
        w = min(width, full[0].width)
        source = ""
        for quality in (70, 60, 50, 40, 30, 20, 10):
            h = max(1, round(full[0].height * w / full[0].width))
            source = _grid(full, columns, w, h, quality)
            if len(source) <= most:
                break
            w = max(16, round(w * 0.85))
        return {
            "source": source, "frames": len(full), "columns": columns, "width": w, "height": h,
            "milliseconds": self._milliseconds(every), "returns": [float(r) for r in self.returns],
            "agent": self.agent, "generation": self.generation, "steps": len(self.observations) or len(self.frames),
        }  # fmt: skip

    def _pictures(self, every: int, scale: float) -> list[Image]:
        from PIL import Image

        if not self.frames:
            raise NoPictures(
                "the rollout has no frames: the environment draws nothing. "
                'Make it with render_mode="rgb_array".'
            )
        chosen = list(self.frames[::every])
        if (len(self.frames) - 1) % every:
            chosen.append(self.frames[-1])  # how an episode ends is what one wants to see
        size = (max(1, round(chosen[0].shape[1] * scale)), max(1, round(chosen[0].shape[0] * scale)))
        pictures = [Image.fromarray(frame) for frame in chosen]
        return [p if p.size == size else p.resize(size, Image.Resampling.BILINEAR) for p in pictures]

    def _milliseconds(self, every: int) -> int:
        if every == EVERY and self.fps >= 30:
            return MILLISECONDS
        return max(20, round(every * 100 / self.fps) * 10)


def _one_palette(pictures: list[Image]) -> list[Image]:
    """Quantise all frames with the palette of a contact sheet: smaller, faster, and no flicker."""
    from PIL import Image

    w, h = pictures[0].size
    sample = pictures[:: max(1, len(pictures) // 16)]
    sheet = Image.new("RGB", (w, h * len(sample)))
    for i, picture in enumerate(sample):
        sheet.paste(picture, (0, i * h))
    palette = sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    return [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]


def _grid(pictures: list[Image], columns: int, w: int, h: int, quality: int) -> str:
    from PIL import Image, features

    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * w, rows * h))
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((w, h), Image.Resampling.BILINEAR), (i % columns * w, i // columns * h))
    file = io.BytesIO()
    form = "WEBP" if features.check("webp") else "JPEG"
    sheet.save(file, form, quality=quality)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _save_mp4(path: Path, pictures: list[Image], milliseconds: int) -> None:
    try:
        import imageio_ffmpeg  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise ImportError('saving .mp4 needs imageio-ffmpeg: pip install "evolab[video]".') from None
    w, h = (side - side % 2 for side in pictures[0].size)  # the codec wants even sides
    film = imageio_ffmpeg.write_frames(str(path), (w, h), fps=1000 / milliseconds, macro_block_size=2)
    film.send(None)
    for picture in pictures:
        film.send(picture.convert("RGB").crop((0, 0, w, h)).tobytes())
    film.close()

"""A recorded episode shows itself, saves itself and feeds the player."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from evolab.reporting.rollout import Rollout


@pytest.fixture
def rollout() -> Rollout:
    frames = [np.full((80, 120, 3), (i * 2, 90, 200), np.uint8) for i in range(91)]
    return Rollout(returns=[231.4], frames=frames, fps=50)


def test_it_says_what_it_is(rollout):
    assert repr(rollout) == "Rollout(1 episode, return 231.4, 91 frames): .returns, .save('film.gif')"
    assert repr(Rollout(returns=[1.0, 3.0])) == "Rollout(2 episodes, mean return 2, 0 frames): .returns"


@pytest.mark.parametrize(("suffix", "form"), [("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG")])
def test_it_is_saved_as_an_animation_at_half_size(rollout, tmp_path, suffix, form):
    path = rollout.save(tmp_path / f"film.{suffix}")
    with Image.open(path) as film:
        assert film.format == form
        assert film.size == (60, 40)
        assert film.n_frames == 31


def test_a_gif_has_one_palette_and_plays_at_60_milliseconds(rollout):
    with Image.open(io.BytesIO(rollout.animation("GIF"))) as film:
        assert film.info["duration"] == 60
        assert len(film.getpalette()) // 3 <= 64


def test_it_is_saved_as_mp4_where_the_extra_is_installed(rollout, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    assert rollout.save(tmp_path / "film.mp4").stat().st_size > 500


def test_mp4_names_the_extra_where_it_is_missing(rollout, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "evolab\[video\]"'):
        rollout.save(tmp_path / "film.mp4")


def test_an_unknown_suffix_is_refused_with_the_known_ones(rollout, tmp_path):
    with pytest.raises(ValueError, match=r"film\.avi: a rollout is saved as \.gif, \.webp, \.png, \.mp4"):
        rollout.save(tmp_path / "film.avi")


def test_without_frames_it_says_how_to_get_some(tmp_path):
    with pytest.raises(ValueError, match="render_mode"):
        Rollout(returns=[1.0]).save(tmp_path / "film.gif")


def test_a_notebook_gets_an_animated_png_twice_and_text(rollout):
    bundle = rollout._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png"}
    assert bundle["image/png"] in bundle["text/html"]
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as film:
        assert film.is_animated


def test_without_frames_it_still_shows_as_text():
    assert Rollout(returns=[1.0])._repr_mimebundle_() == {
        "text/plain": "Rollout(1 episode, return 1, 0 frames): .returns"
    }


def test_the_last_frame_is_always_kept(rollout):
    rollout.frames[-1] = np.zeros((80, 120, 3), np.uint8)
    rollout.frames.insert(0, rollout.frames[0])
    with Image.open(io.BytesIO(rollout.animation("WEBP"))) as film:
        film.seek(film.n_frames - 1)
        assert max(film.convert("RGB").getpixel((30, 20))) < 20


def test_sprites_fit_their_budget_even_when_every_pixel_is_noise():
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 255, (400, 600, 3), dtype=np.uint8) for _ in range(60)]
    sprites = Rollout(returns=[1.0], frames=noise).sprites(most=90_000)
    assert len(sprites["source"]) <= 90_000
    assert sprites["frames"] == 21


def test_sprites_say_how_to_cut_them_up(rollout):
    sprites = rollout.sprites(frames=20)
    source = base64.b64decode(sprites["source"].split(",", 1)[1])
    with Image.open(io.BytesIO(source)) as sheet:
        rows = -(-sprites["frames"] // sprites["columns"])
        assert sheet.size == (sprites["columns"] * sprites["width"], rows * sprites["height"])

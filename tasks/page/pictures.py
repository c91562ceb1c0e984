"""The report's pictures: samples by class, and how they come about."""

import base64
from pathlib import Path

import numpy as np
from PIL import Image

PER_CLASS = 12  # pictures in a row
COMPARED = 8  # pictures in a row where real ones stand above generated ones
LEGIBLE, APART = 48, 4  # pixels of a picture's height there, and between two
MOST_CLASSES = 20  # rows; the commonest and the rarest, where there are more
GAP = 2


def choose_classes(counts: list[int]) -> list[int]:
    """Classes to show, commonest first; where there are too many, half from each end, so that rare ones are seen."""
    order = sorted(range(len(counts)), key=lambda c: (-counts[c], c))
    half = MOST_CLASSES // 2
    return order if len(order) <= MOST_CLASSES else order[:half] + order[-half:]


def draw_by_class(image: np.ndarray, verdict: np.ndarray, rows: list[int]) -> Image.Image:
    """One row per class of uint8 [N, C, H, W] with classes [N]; a class without images has an empty row."""
    return _draw_sheet(
        [[image[i] for i in np.flatnonzero(verdict == c)[:PER_CLASS]] for c in rows], image.shape[1:], PER_CLASS
    )


def draw_comparison(rows: list[np.ndarray]) -> Image.Image:
    """The first of each uint8 [N, C, H, W], one row each, enlarged by a whole number to ``LEGIBLE`` pixels; a short row ends early."""
    shape = rows[0].shape[1:]
    return _draw_sheet([list(images[:COMPARED]) for images in rows], shape, COMPARED, LEGIBLE, APART)


def draw_rows(rows: list[list[np.ndarray]]) -> Image.Image:
    """Pictures uint8 [C, H, W], enlarged as ``draw_comparison`` does."""
    return _draw_sheet(rows, rows[0][0].shape, max(map(len, rows)), LEGIBLE, APART)


def draw_trajectories(steps: np.ndarray, most: int = 12) -> Image.Image:
    """uint8 [steps, n, C, H, W]: one row per sample, one column per evaluation (``most`` of them, spread evenly)."""
    columns = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    return _draw_sheet([[steps[k, i] for k in columns] for i in range(steps.shape[1])], steps.shape[2:], len(columns))


def _draw_sheet(
    rows: list[list[np.ndarray]], shape: tuple[int, ...], columns: int, least: int = 32, gap: int = GAP
) -> Image.Image:
    channels, height, width = shape
    zoom = max(1, least // height)
    down, across = height * zoom + gap, width * zoom + gap
    sheet = np.full((len(rows) * down, columns * across, channels), 128, np.uint8)
    for r, tiles in enumerate(rows):
        for k, tile in enumerate(tiles):
            large = tile.transpose(1, 2, 0).repeat(zoom, 0).repeat(zoom, 1)
            sheet[r * down : r * down + height * zoom, k * across : k * across + width * zoom] = large
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def save_png(path: Path, picture: Image.Image) -> str:
    """Writes a PNG and returns it as base64 for the page."""
    picture.save(path)
    return base64.b64encode(path.read_bytes()).decode()

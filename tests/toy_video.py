"""A video in closed form: a bright disc moves over a gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NUM_FRAMES = 6
HEIGHT, WIDTH = 12, 16


def toy_frames(num_frames: int = NUM_FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (T, H, W, 3); no two frames, rows or columns are equal."""
    time = np.arange(num_frames)[:, None, None] / max(num_frames - 1, 1)
    rows = np.arange(height)[None, :, None] / (height - 1)
    columns = np.arange(width)[None, None, :] / (width - 1)
    disc = np.exp(-30 * ((rows - 0.3 - 0.4 * time) ** 2 + (columns - 0.2 - 0.6 * time) ** 2))
    channels = [0.2 + 0.6 * disc, 0.1 + 0.5 * rows + 0.2 * disc, 0.1 + 0.6 * columns + 0.1 * time]
    frames = np.stack(np.broadcast_arrays(*channels), axis=-1)
    return np.round(255 * frames).astype(np.uint8)


def write_video(path: Path, frames: np.ndarray, fps: int = 10, **options: str) -> Path:
    """Writes frames without loss, so that they can be compared exactly."""
    import av

    with av.open(str(path), mode="w", options=options) as container:
        stream = container.add_stream("libx264rgb", rate=fps, options={"crf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_images(folder: Path, frames: np.ndarray) -> Path:
    """Writes frames as frame_0.png … frame_10.png, whose order by characters is another than by numbers."""
    from PIL import Image

    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}.png")
    return folder

"""nf-synth: write a scene with known truth."""

from __future__ import annotations

import tyro

from nf_plugins.data.synthetic.generate import SynthOptions, generate_scene


def entrypoint() -> None:
    """Console entry point."""
    generate_scene(tyro.cli(SynthOptions, prog="nf-synth"))


if __name__ == "__main__":
    entrypoint()

"""Options of nf-process-data; apart from what they are for, so that --help needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True)
class MaskOptions:
    """Where foreground masks come from; without any of these there are none."""

    masks: Path | None = None
    """Folder with a video or a folder of images of masks per camera, called like the camera; brighter than half (in
    images without loss: of the camera's brightest value, so that 0 and 1 will do) is foreground."""
    chroma_key: tuple[int, int, int] | None = None
    """Colour of the backdrop, 0 to 255 each; what differs from it in hue is foreground."""
    chroma_tolerance: float = 40.0
    """How far from the key colour the backdrop may be, 0 to 255, in chroma (shadows on the backdrop do not count)."""
    background_plates: Path | None = None
    """Folder with one image of the empty set per camera, called like the camera; what differs from it is foreground."""
    plate_tolerance: float = 25.0
    """How far from the empty set the background may be, 0 to 255, in the channel that differs most."""
    mask_cleanup: int = 2
    """Specks and holes narrower than about twice this many pixels are removed from masks that were made; 0 leaves
    them."""


@dataclass(kw_only=True)
class MultiviewVideoOptions(MaskOptions):
    """Synchronised videos of standing, calibrated cameras -> a folder for nerfstudio-time-data."""

    videos: Path
    """Folder with one video (or folder of images) per camera, called like the camera."""
    cameras: Path
    """transforms.json with one entry per camera, a folder with EasyMocap's intri.yml and extri.yml, or a COLMAP model
    with one image per camera."""
    output_dir: Path
    """Folder to write; must be new or empty, or an earlier capture with --overwrite."""
    only: tuple[str, ...] = ()
    """Use these cameras alone."""
    fps: float | None = None
    """Moments per second to take; None takes the videos' own rate."""
    start_frame: int = 0
    """First moment to take, counted from the first that all cameras saw."""
    frame_stride: int = 1
    """Take every n-th moment."""
    num_frames: int | None = None
    """How many moments to take at most; None takes all."""
    offsets: dict[str, float] = field(default_factory=dict)
    """Seconds by which a camera began later than the others, as CAMERA SECONDS pairs."""
    count_tolerance: float = 0.05
    """By which part the lengths of videos without offsets may differ."""
    image_fps: float = 30.0
    """Frames per second of folders of images, and of videos without time stamps."""
    downscale: int = 1
    """Reduce images, masks and intrinsics by this whole factor."""
    image_format: Literal["png", "jpg"] = "png"
    """png keeps every pixel; jpg takes about a tenth of the space."""
    scene_aabb: tuple[float, float, float, float, float, float] | None = None
    """Box around the subject's whole motion, xmin ymin zmin xmax ymax zmax in the calibration's units; without it, it
    is estimated from masks, points, or what all cameras see."""
    overwrite: bool = False
    """Replace an earlier capture in the output folder."""


@dataclass(kw_only=True)
class RgbdOptions(MaskOptions):
    """Recorded RGB-D cameras (depth aligned to colour) -> a folder for owlii-data."""

    recording: Path
    """Folder with cameras.json (or cameras.npz) and, per camera, color/ (or color.mp4) and depth/."""
    output_dir: Path
    """Folder to write; must be new or empty, or an earlier capture with --overwrite."""
    only: tuple[str, ...] = ()
    """Use these cameras alone."""
    eval_camera: str | None = None
    """Camera that the printed command holds out of training; by default the last of three or more."""
    start_frame: int = 0
    """First frame to take."""
    frame_stride: int = 1
    """Take every n-th frame."""
    num_frames: int | None = None
    """How many frames to take at most; None takes all."""
    count_tolerance: float = 0.05
    """By which part the cameras' numbers of frames may differ; what all have is used."""
    depth_unit: float = 0.001
    """World units (of the poses) per raw value of a depth image; 0.001 is millimetres and metres."""
    depth_convention: Literal["z", "ray"] = "z"
    """What the sensor's depth is: the camera's z coordinate (nearly all sensors), or the distance along the ray."""
    convert_depth_to_ray: bool = False
    """Write the distance along the ray instead of z; else depth is written as it is."""
    pixel_centers: Literal["integers", "half_integers"] = "integers"
    """Where the calibration has pixel centres: the first at (0, 0), as OpenCV and sensors' tools have it, or at
    (0.5, 0.5)."""
    depth_range: tuple[float, float] | None = None
    """Foreground is nearer and farther than this, in world units of depth."""
    crop_box: tuple[float, float, float, float, float, float] | None = None
    """Foreground lies in this box of the world, xmin ymin zmin xmax ymax zmax."""
    overwrite: bool = False
    """Replace an earlier capture in the output folder."""


@dataclass(kw_only=True)
class MaskedViewsOptions:
    """Photographs of a standing object, their masks and cameras -> a folder for dtu-data."""

    images: Path
    """Folder with the photographs, called as the cameras' files call them; those without a camera are left out."""
    cameras: Path
    """COLMAP's model or the folder around it (sparse/0 with .bin or .txt files), or nerfstudio's transforms.json."""
    masks: Path | None = None
    """Folder with a mask per photograph, called like it; brighter than half (of a cut-out: opaque) is the object. None
    takes the alpha channel of the photographs."""
    output_dir: Path
    """Folder to write; must be new or empty, or an earlier capture with --overwrite."""
    downscale: int = 1
    """Reduce images, masks and intrinsics by this whole factor."""
    mask_agreement: float = 0.9
    """The object is where this part of the masks that see a place have it inside; below 1 a few poor masks or poses do
    no harm, and the sphere gets somewhat larger."""
    sphere_margin: float = 0.1
    """By which part the sphere around the object is enlarged."""
    sphere: tuple[float, float, float, float] | None = None
    """Centre x y z and radius of the normalising sphere in the units of the cameras, instead of the masks' hull."""
    overwrite: bool = False
    """Replace an earlier capture in the output folder."""


@dataclass(kw_only=True)
class MonocularVideoOptions:
    """One moving camera's video of a moving scene -> a folder for nsff-data, with poses, flow, depth, motion masks."""

    data: Path
    """The video, or a folder with its frames as images."""
    output_dir: Path
    """Folder to write; new or empty, or one that this command began with the same options and is to go on with."""
    poses: Path | None = None
    """LLFF's poses_bounds.npy, nerfstudio's transforms.json, a COLMAP model, or a folder with one of them; None runs
    COLMAP, which must be installed then."""
    pixel_convention: Literal["auto", "integer", "half"] = "auto"
    """Ray of pixel column u with poses_bounds.npy: integer = through u - W/2, as NSFF has it; half = through
    u + 1/2 - W/2, as COLMAP has it; auto = what scene.json beside it says, else integer. What is written means the
    same and says so."""
    colmap_matching: Literal["sequential", "exhaustive"] = "sequential"
    """Which frames COLMAP compares: neighbours, or all with all."""
    bounds: tuple[float, float] | None = None
    """Depth of the nearest and the farthest thing, in the poses' units; None takes those of the poses' file, or finds
    them from its points or from flow."""
    start_frame: int = 0
    """First frame to take."""
    frame_stride: int = 1
    """Take every n-th frame."""
    num_frames: int | None = None
    """How many frames to take; None takes all. Around 30 work best."""
    resize_height: int = 288
    """Height in pixels of the images to train on, width by aspect; frames that are smaller stay as they are."""
    flow_backend: Literal["auto", "raft", "dis", "folder"] = "auto"
    """Optical flow by torchvision's RAFT, by OpenCV's DIS, which needs no weights, or from files. auto takes
    --flow-folder if given, else RAFT if its weights can be had, else DIS."""
    flow_folder: Path | None = None
    """Folder with flow of the frames to the next one (<frame>_fwd) and to the one before (<frame>_bwd), <frame> being
    the image's name or a number: NSFF's .npz, .flo, .npy (H, W, 2), or KITTI's 16-bit .png."""
    flow_weights: Path | None = None
    """State dict of torchvision's raft_large or raft_small; None takes torchvision's own, from its cache or the net."""
    flow_long_side: int = 768
    """Frames are brought to this many pixels along their longer side for the search of flow."""
    depth_backend: Literal["auto", "transformers", "folder", "triangulated", "none"] = "auto"
    """Depth by a network of the transformers package, from files, or by triangulating flow of what stands still. auto
    takes --depth-folder if given, else the network if it can be had, else triangulates if the camera moves, else
    leaves depth out."""
    depth_model: str = "depth-anything/Depth-Anything-V2-Small-hf"
    """Name or folder of a transformers depth model that gives inverse depth."""
    depth_folder: Path | None = None
    """Folder with a depth map per frame, called like it or one after the other: .npy, .npz, 16-bit .png or .tif."""
    depth_kind: Literal["disparity", "metric"] = "disparity"
    """What the files of --depth-folder hold: inverse depth of any scale and shift (larger is nearer), or depth."""
    triangulation_span: int = 10
    """Frames to each side that a frame's depth is triangulated with."""
    epipolar_threshold: float | None = 1.0
    """Pixels that flow may be off the line that a standing point moves on; None leaves motion to --motion-masks."""
    motion_masks: Path | None = None
    """Folder with a mask per frame, called like it or one after the other; brighter than half moves. Added to what flow
    finds."""
    overwrite: bool = False
    """Make anew what an earlier run of this command made with other options in the output folder."""

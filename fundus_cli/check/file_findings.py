"""Kinds of findings about single files: unmatched files, and files that cannot be read."""

from fundus_cli.check.findings import error
from fundus_cli.data import decoding, images, masks
from fundus_cli.data.mismatches import MismatchKind

FETCH = "download the file again, or remove the image and its masks"
RESAVE = "save it as 8-bit PNG"

PAIRING = {
    MismatchKind.no_image: error(
        "no-image",
        "a split has no image",
        "the files are elsewhere, or not named as data.<split>.image expects",
        "move them there, or set data.<split>.image; without test images: data.test=null",
    ),
    MismatchKind.not_listed: error(
        "not-found",
        "an id in the split's list does not exist",
        "the set is incomplete, or its files were renamed",
        "restore the image, or remove its id from data.<split>.ids",
    ),
    MismatchKind.doubled: error(
        "doubled-file",
        "several files for one id",
        "one image saved in two formats, or two versions of it",
        "keep one of them",
    ),
    MismatchKind.missing: error(
        "missing-file",
        "an image lacks a mask",
        "the mask does not exist, or has another name",
        "create or rename the mask, or remove the image",
    ),
    MismatchKind.left_over: error(
        "left-over-file",
        "a mask without an image",
        "the image was removed, or has another name",
        "restore or rename the image, or remove the mask",
    ),
}

FILES = {
    decoding.CANNOT_OPEN: error(
        "cannot-open",
        "cannot be opened",
        "no permission, a broken link, a link to itself, or deleted during the check",
        "fix the permission or the link",
    ),
    decoding.NOT_A_FILE: error(
        "not-a-file",
        "is no regular file but a folder, pipe, socket or device",
        "it only has an image's name",
        "remove it",
    ),
    decoding.EMPTY: error("empty-file", "has 0 bytes", "an interrupted copy or download", FETCH),
    decoding.MARKUP: error(
        "web-page", "is a web page under an image's name", "the download failed", FETCH
    ),
    decoding.LFS_POINTER: error(
        "lfs-pointer",
        "is a Git-LFS pointer, not the image",
        "the repository was cloned without its large files",
        "run `git lfs pull`",
    ),
    decoding.UNREADABLE: error(
        "unreadable",
        "cannot be read as an image",
        f"damaged, cut short, or not {', '.join(decoding.FORMAT_NAMES)} despite its name",
        FETCH,
    ),
    decoding.TIFF_TYPE: error(
        "tiff-type",
        "is a TIFF whose numbers are of a type that is not read",
        "64-bit or 16-bit floats, or floats in three channels, as computations write them",
        "save it as 8-bit, as 16-bit whole numbers, or as 32-bit float with one channel",
    ),
    decoding.METADATA: error(
        "metadata",
        "has megabytes of metadata in front of the image",
        "damaged, or made to be slow",
        "save it again without metadata",
    ),
    decoding.NO_MEMORY: error(
        "no-memory", "does not fit into memory", "it is very large", "free memory or reduce it"
    ),
    decoding.TOO_LARGE: error(
        "too-large",
        "has more pixels than data.max_megapixels allows",
        "a mosaic, or a decompression bomb",
        "raise data.max_megapixels if the size is intended, or reduce it",
    ),
    decoding.FRAMES: error(
        "several-frames",
        "has more than one frame or page",
        "a series, an animation or layers in one file",
        "save one frame per file",
    ),
    decoding.LAYOUT: error(
        "tiff-layout",
        "is a TIFF variant that is misread",
        "some cameras store images in this way",
        RESAVE,
    ),
    decoding.WHITE_IS_ZERO: error(
        "white-is-zero",
        "is a TIFF that stores white as 0",
        "programs read it differently, some inverted",
        "save it as PNG",
    ),
    decoding.NOT_FINITE: error(
        "not-finite", "holds NaN or infinity", "a computation went wrong", "compute it again"
    ),
    decoding.COLOUR_MODE: error(
        "colour-model",
        "has a colour model that is not supported",
        "LAB, 16-bit CMYK, or 16-bit colours in a mask",
        "save it as 8-bit RGB or grey",
    ),
    images.TRANSPARENT: error(
        "transparent",
        "an image is transparent in places",
        "a cut-out or an overlay, not an image",
        "save it without transparency",
    ),
    images.BLACK_AND_WHITE: error(
        "black-and-white",
        "an image has only black and white",
        "a mask is among the images",
        "replace it with the image",
    ),
    images.ZERO_ONE: error(
        "zero-one",
        "an image holds only 0 and 1 of 255",
        "a mask is among the images, or values from 0 to 1 were rounded",
        "replace it with the image, or scale it before it is saved",
    ),
    images.DIM: error(
        "dim",
        "an image stays below a quarter of full scale",
        "a 16-bit or float file that holds 8 to 14 bits",
        "scale it to full scale, or save it with 8 bits",
    ),
    images.NO_FULL_SCALE: error(
        "no-full-scale",
        "an image holds whole numbers without a known full scale",
        "raw values from a camera or a computation",
        RESAVE,
    ),
    images.FLOAT_RANGE: error(
        "float-range",
        "an image holds float values outside 0 to 1",
        "it was normalised, or holds 0 to 255 as floats",
        "scale it to 0 to 1, or save it with 8 bits",
    ),
    masks.NOT_TWO_VALUED: error(
        "mask-not-two-valued",
        "a mask is not two-valued",
        "several levels or colours, and it is unclear which of them count",
        "data.mask_threshold or data.mask_foreground decides what counts",
    ),
    masks.ONE_COLOUR: error(
        "mask-one-colour",
        "a mask has one colour, and it is not black",
        "everything is marked, or an empty mask was saved inverted",
        "save an empty mask as black",
    ),
    masks.NO_BLACK: error(
        "mask-no-black",
        "a mask has two values, neither of them black",
        "the background is not 0",
        "data.mask_foreground decides what counts",
    ),
    masks.HAS_ALPHA: error(
        "mask-transparent",
        "a mask has transparency that is not the same everywhere",
        "the structure may be stored as transparency, as image editors do with layers",
        "set data.mask_channel=alpha to read it; otherwise save the mask without transparency",
    ),
    masks.NO_ALPHA: error(
        "mask-not-transparent",
        "a mask has no transparency, although data.mask_channel=alpha needs it",
        "this mask stores its structure in its colours",
        "save all masks in the same way, or set data.mask_channel=colour",
    ),
    masks.MIN_IS_WHITE: error(
        "mask-white-is-zero",
        "a mask is a TIFF that stores white as 0",
        "programs read it differently, some inverted",
        "save it as PNG, or decide with data.mask_foreground",
    ),
    masks.FURTHER_CHANNELS: error(
        "mask-further-channels",
        "a mask is a TIFF with channels beyond grey or RGB",
        "one channel per structure, of which only the first would be read",
        "save each structure as a file of its own",
    ),
    masks.LOSSY_LIST: error(
        "mask-lossy",
        "a mask whose values are listed was compressed with loss",
        "it was saved as JPEG, which blurs the values along every outline",
        "save it as PNG, or set data.mask_threshold=0.5 instead of data.mask_foreground",
    ),
    masks.TOO_DARK: error(
        "mask-too-dark",
        "a mask's levels are so low that data.mask_threshold would empty it",
        "0/1 and 0/1/2 are class indices, not grey levels",
        "set data.mask_foreground to the levels that count; a 0/1 mask needs neither",
    ),
    masks.UNKNOWN_FULL_SCALE: error(
        "mask-no-full-scale",
        "a mask holds numbers without a known full scale",
        "whole numbers from a computation, or labels",
        "data.mask_foreground decides what counts",
    ),
    masks.FOV_NOT_TWO_VALUED: error(
        "fov-not-two-valued",
        "a field-of-view mask has levels far from black and white",
        "an image or another file is in its place",
        "replace it, or leave field-of-view masks out",
    ),
}

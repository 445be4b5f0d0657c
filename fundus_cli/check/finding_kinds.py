"""Kinds of findings about what files hold and how they go together."""

from fundus_cli.check.file_findings import FILES, PAIRING
from fundus_cli.check.findings import error, note, warning

SIZE_DIFFERS = error(
    "size-differs",
    "mask and image differ in size",
    "one of them was cropped, resized or turned",
    "bring both to one size",
)
FOV_EMPTY = error(
    "fov-empty",
    "a field-of-view mask is empty",
    "saved wrongly; nothing would be trained or scored",
    "draw it again, or leave field-of-view masks out",
)
ALL_BLACK = error(
    "all-black",
    "an image shows nothing",
    "all black, or without a bright field",
    "replace it or take it out",
)
UNLISTABLE = error(
    "unlistable-folder",
    "a folder cannot be listed",
    "no permission, or a link to itself",
    "mend the permission or the link",
)
VAL_TOO_SMALL = error(
    "val-too-small",
    "train cannot be cut into train and val",
    "too few images or persons",
    "add images, or set data.val_fraction=0",
)
COPY_ACROSS = error(
    "copy-across-splits",
    "the same image in two splits",
    "a score on it would say nothing about new images",
    "remove one of the two",
)
NEAR_COPY_ACROSS = warning(
    "near-copy-across-splits",
    "almost the same image in two splits",
    "saved again, resized, mirrored or brightened; a score on it says nothing about new ones",
    "remove one of the two",
)
COPY_WITHIN = warning(
    "copy-within-split",
    "the same image twice in one split",
    "it counts double; two masks of it may disagree",
    "keep one of the two",
)
PERSON_ACROSS = warning(
    "person-across-splits",
    "images of one person in several splits",
    "both eyes of a person are alike, so the score is too good",
    "put all images of a person into one split",
)
EYES_APART = warning(
    "eyes-across-splits",
    "left and right eye of what looks like one person in several splits",
    "both eyes of a person are alike, so the score is too good",
    "set data.person, or put both into one split",
)
MASK_EMPTY = warning(
    "mask-empty",
    "a mask marks nothing",
    "never drawn, or the structure is not there",
    "draw it, or take the image out, unless nothing is there to be drawn",
)
ALL_EMPTY = warning(
    "all-masks-empty",
    "every mask of a structure is empty",
    "nothing can be learned from them",
    "look at how the masks are read: data.mask_channel, data.mask_foreground",
)
RULE_EMPTIES = warning(
    "rule-empties-mask",
    "data.mask_threshold or data.mask_foreground empties a mask that is not black",
    "this mask spells the structure with other values",
    "list its values in data.mask_foreground, or save all masks alike",
)
MASK_INVERTED = warning(
    "mask-inverted",
    "a mask marks most of the field of view",
    "background and structure are exchanged",
    "data.mask_foreground=[0] if all masks are like this, otherwise invert these",
)
MASK_SHIFTED = warning(
    "mask-shifted",
    "a mask lies beside what it marks",
    "image or mask was cropped or moved",
    "move the mask by what was found",
)
MASK_ROTATED = warning(
    "mask-turned",
    "a mask fits its image only when mirrored or turned",
    "image or mask was turned without the other",
    "turn the mask by what was found",
)
MASK_ELSEWHERE = warning(
    "mask-of-another",
    "a mask does not fit its image at all",
    "the mask of another image",
    "look at the contact sheet; put the right mask in its place",
)
FOV_DISAGREES = warning(
    "fov-disagrees",
    "a field-of-view mask is not the field seen in the image",
    "the mask of another camera or another image, or cropped",
    "draw it again, or leave field-of-view masks out",
)
FOV_NOT_FOUND = note(
    "fov-not-found",
    "no dark surround is seen, so the whole picture counts as field of view",
    "cropped to the retina, or a bright surround",
    "give field-of-view masks (data.<split>.fov) if there is a surround",
)
EXIF_ROTATED = note(
    "exif-turned",
    "an image says in its EXIF data that it is to be turned",
    "it is turned upright on reading; programs that ignore EXIF show it otherwise",
    "draw masks on the upright image; fix=true saves it upright",
)
SIXTEEN_BIT = note(
    "sixteen-bit",
    "an image has more than 8 bits",
    "it is read with 8 bits",
    "nothing, if its brightness looks right on the contact sheet",
)
GREY = note(
    "grey",
    "an image has no colours",
    "an angiogram, a red-free image or a single channel",
    "keep grey and colour images in sets of their own",
)
JUNK = note(
    "junk-files",
    "files that systems and editors leave behind are ignored",
    "thumbnails, hidden files, copies of editors",
    "nothing",
)

CONTENT = (
    *(SIZE_DIFFERS, FOV_EMPTY, ALL_BLACK, UNLISTABLE, VAL_TOO_SMALL, COPY_ACROSS),
    *(NEAR_COPY_ACROSS,),
    *(COPY_WITHIN, PERSON_ACROSS, EYES_APART, MASK_EMPTY, ALL_EMPTY, RULE_EMPTIES, MASK_INVERTED),
    *(MASK_SHIFTED, MASK_ROTATED, MASK_ELSEWHERE, FOV_DISAGREES, FOV_NOT_FOUND, EXIF_ROTATED),
    *(SIXTEEN_BIT, GREY, JUNK),
)
ALL_KINDS = (*PAIRING.values(), *FILES.values(), *CONTENT)

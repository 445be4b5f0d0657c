"""Kinds of findings about what files hold and how they go together."""

from fundus_cli.check.file_findings import FILES, PAIRING
from fundus_cli.check.findings import error, note, warning

SIZE_DIFFERS = error(
    "size-differs",
    "mask and image differ in size",
    "one of them was cropped, resized or rotated",
    "bring both to one size",
)
FOV_EMPTY = error(
    "fov-empty",
    "a field-of-view mask is empty",
    "saved incorrectly; nothing would be trained or scored",
    "create it again, or leave field-of-view masks out",
)
ALL_BLACK = error(
    "all-black",
    "an image shows nothing",
    "all black, or without a bright field",
    "replace or remove it",
)
UNLISTABLE = error(
    "unlistable-folder",
    "a folder cannot be listed",
    "no permission, or a link to itself",
    "fix the permission or the link",
)
VAL_TOO_SMALL = error(
    "val-too-small",
    "train cannot be divided into train and val",
    "too few images or persons",
    "add images, or set data.val_fraction=0",
)
COPY_ACROSS = error(
    "copy-across-splits",
    "the same image in two splits",
    "its score would be meaningless",
    "remove one of the two",
)
NEAR_COPY_ACROSS = warning(
    "near-copy-across-splits",
    "almost the same image in two splits",
    "saved again, resized, mirrored or brightened; its score is meaningless",
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
    "both eyes of a person are similar, so the score is too high",
    "put all images of a person into one split",
)
EYES_APART = warning(
    "eyes-across-splits",
    "left and right eye of what looks like one person in several splits",
    "both eyes of a person are similar, so the score is too high",
    "set data.person, or put both into one split",
)
MASK_EMPTY = warning(
    "mask-empty",
    "a mask marks nothing",
    "never annotated, or the structure is absent",
    "annotate it, or remove the image, unless the structure is absent",
)
ALL_EMPTY = warning(
    "all-masks-empty",
    "every mask of a structure is empty",
    "nothing can be learned from them",
    "check how the masks are read: data.mask_channel, data.mask_foreground",
)
RULE_EMPTIES = warning(
    "rule-empties-mask",
    "data.mask_threshold or data.mask_foreground empties a mask that is not black",
    "this mask stores the structure as other values",
    "list its values in data.mask_foreground, or save all masks in the same way",
)
MASK_INVERTED = warning(
    "mask-inverted",
    "a mask marks most of the field of view",
    "background and structure are swapped",
    "data.mask_foreground=[0] if all masks are like this, otherwise invert these",
)
MASK_SHIFTED = warning(
    "mask-shifted",
    "a mask is shifted against its image",
    "image or mask was cropped or moved",
    "shift the mask by the value found",
)
MASK_ROTATED = warning(
    "mask-turned",
    "a mask fits its image only when mirrored or rotated",
    "image or mask was rotated without the other",
    "rotate or mirror the mask as found",
)
MASK_ELSEWHERE = warning(
    "mask-of-another",
    "a mask does not fit its image at all",
    "the mask of another image",
    "look at the contact sheet and replace the mask",
)
FOV_DISAGREES = warning(
    "fov-disagrees",
    "a field-of-view mask does not match the field in the image",
    "it is cropped, or belongs to another camera or another image",
    "create it again, or leave field-of-view masks out",
)
FOV_NOT_FOUND = warning(
    "fov-not-found",
    "no border of the field of view is visible, so the whole image counts as field of view",
    "cropped to the retina, or a surround full of structure; the image's scale is unknown",
    "set data.fov_angle_deg to what the longer side shows, or give field-of-view masks",
)
FOV_NOT_ROUND = note(
    "fov-not-round",
    "the field of view is not round, so its longer side counts as its diameter",
    "cropped to a part of the retina, or a camera with another field",
    "set data.fov_angle_deg to what the longer side shows",
)
SEVERAL_FIELDS = warning(
    "several-fields",
    "an image shows several fields of view",
    "images side by side in one file; only one of them is used",
    "save each as a file of its own",
)
EXIF_ROTATED = note(
    "exif-turned",
    "an image has an EXIF orientation",
    "it is rotated upright on reading; programs that ignore EXIF show it rotated",
    "annotate the upright image; fix=true saves it upright",
)
SIXTEEN_BIT = note(
    "sixteen-bit",
    "an image has more than 8 bits",
    "it is read with 8 bits",
    "nothing, if it is not too dark or too bright on the contact sheet",
)
GREY = note(
    "grey",
    "an image has no colours",
    "an angiogram, a red-free image or a single channel",
    "keep grey and colour images in separate sets",
)
JUNK = note(
    "junk-files",
    "files that systems and editors create are ignored",
    "thumbnails, hidden files, backup copies of editors",
    "nothing",
)

CONTENT = (
    SIZE_DIFFERS,
    FOV_EMPTY,
    ALL_BLACK,
    UNLISTABLE,
    VAL_TOO_SMALL,
    COPY_ACROSS,
    NEAR_COPY_ACROSS,
    COPY_WITHIN,
    PERSON_ACROSS,
    EYES_APART,
    MASK_EMPTY,
    ALL_EMPTY,
    RULE_EMPTIES,
    MASK_INVERTED,
    MASK_SHIFTED,
    MASK_ROTATED,
    MASK_ELSEWHERE,
    FOV_DISAGREES,
    FOV_NOT_FOUND,
    SEVERAL_FIELDS,
    FOV_NOT_ROUND,
    EXIF_ROTATED,
    SIXTEEN_BIT,
    GREY,
    JUNK,
)
ALL_KINDS = (*PAIRING.values(), *FILES.values(), *CONTENT)

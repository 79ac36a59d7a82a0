"""Every kind of mistake that the dataset doctor knows, with its weight and its cure."""

from __future__ import annotations

from centernet2.data.doctor.kind import SEVERITIES, Kind

__all__ = ["KINDS", "SEVERITIES", "Kind"]

_DROP_ANNOTATION = "drops the annotation"
_DROP_IMAGE = "drops the image and its annotations"

_ALL = (
    # the file
    Kind(
        "json-unreadable",
        "error",
        "the file is no JSON, or is cut off",
        "export or download it again",
    ),
    Kind(
        "not-coco",
        "error",
        "the file has not the lists images, annotations and categories",
        "convert it to COCO's format",
    ),
    Kind(
        "record-not-object",
        "error",
        "an entry of a list is no JSON object",
        "remove the entry",
        "drops the entry",
    ),
    # ids
    Kind(
        "id-missing",
        "error",
        "a record has no id, image_id or category_id",
        "give it one",
        "numbers an annotation afresh; drops any other record",
    ),
    Kind(
        "id-not-integer",
        "error",
        "an id is a text, a fraction or something else that is no integer",
        "write ids as integers",
        "turns '7' and 7.0 into 7, numbers annotations afresh, drops other records",
    ),
    Kind(
        "id-huge",
        "error",
        "an id is beyond 2^53, where evaluators that keep ids as floats mix them up",
        "number the records anew",
        "numbers an annotation afresh; drops any other record",
    ),
    Kind(
        "annotation-id-zero",
        "warning",
        "an annotation has id 0, which pycocotools takes for 'not matched'",
        "number annotations from 1",
        "numbers the annotation afresh",
    ),
    Kind(
        "duplicate-image-id",
        "error",
        "two images share an id",
        "number the images anew, with their annotations",
        "keeps the first image of the id",
    ),
    Kind(
        "duplicate-annotation-id",
        "error",
        "two annotations share an id; evaluators see one of them only",
        "number the annotations anew",
        "numbers the later annotation afresh",
    ),
    Kind(
        "duplicate-category-id",
        "error",
        "two categories share an id",
        "number the categories anew, with their annotations",
        "keeps the first category of the id",
    ),
    Kind(
        "unknown-image",
        "error",
        "an annotation's image_id is that of no image",
        "add the image or remove the annotation",
        _DROP_ANNOTATION,
    ),
    Kind(
        "unknown-category",
        "error",
        "an annotation's category_id is that of no category",
        "add the category or remove the annotation",
        _DROP_ANNOTATION,
    ),
    # images and categories as the JSON tells of them
    Kind(
        "file-name-bad",
        "error",
        "an image has no usable file_name (nor a coco_url)",
        "name its file",
        _DROP_IMAGE,
    ),
    Kind(
        "duplicate-file-name",
        "warning",
        "two images name the same file",
        "merge them into one image",
    ),
    Kind(
        "image-size-bad",
        "error",
        "an image's width or height is no positive integer",
        "write the size of the file",
        "turns '640' and 640.0 into 640; else " + _DROP_IMAGE,
    ),
    Kind(
        "image-without-annotations",
        "info",
        "an image has no annotation; Detectron2 leaves it out of training by default",
        "set DATALOADER.FILTER_EMPTY_ANNOTATIONS False to train on it as background",
    ),
    Kind(
        "category-name-bad",
        "error",
        "a category's name is missing, empty or no text",
        "name it",
        "names it category_ID",
    ),
    Kind(
        "duplicate-category-name",
        "warning",
        "two categories have the same name",
        "merge them, or tell them apart by name",
    ),
    Kind(
        "text-broken",
        "warning",
        "a name has control characters or broken Unicode",
        "rename it, and save the JSON as UTF-8",
    ),
    Kind(
        "category-gap",
        "info",
        "category ids are not 1, 2, 3, ...; Detectron2 maps them to classes in order",
        "nothing to do; submit results with the original ids",
    ),
    Kind(
        "category-unused",
        "info",
        "a category has no annotation",
        "annotate it, or leave it out of MODEL.ROI_HEADS.NUM_CLASSES",
    ),
    Kind(
        "class-imbalance",
        "info",
        "the most frequent category has over 100 times the annotations of the rarest",
        "think of DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler or the federated loss",
    ),
    # boxes
    Kind(
        "box-bad",
        "error",
        "bbox is missing or no list of four numbers",
        "write [x, y, width, height]",
        _DROP_ANNOTATION,
    ),
    Kind(
        "box-not-finite",
        "error",
        "bbox has NaN, infinity or a number beyond 1e9",
        "annotate the object again",
        _DROP_ANNOTATION,
    ),
    Kind(
        "box-no-area",
        "error",
        "bbox has no or negative width or height",
        "write [x, y, width, height], not two corners",
        _DROP_ANNOTATION,
    ),
    Kind(
        "box-outside",
        "error",
        "bbox lies wholly outside of its image",
        "look whether the image was scaled or cropped",
        _DROP_ANNOTATION,
    ),
    Kind(
        "box-over-edge",
        "warning",
        "bbox leaves its image by over 1 pixel",
        "clip it; many of them: corners were taken for width and height, or the image was scaled",
        "clips the box to the image",
    ),
    Kind(
        "box-tiny",
        "info",
        "bbox is narrower or lower than 1 pixel",
        "look whether it was clicked by mistake",
    ),
    Kind(
        "duplicate-annotation",
        "warning",
        "an annotation repeats another's image, category and box",
        "remove it",
        _DROP_ANNOTATION,
    ),
    Kind(
        "area-bad",
        "error",
        "area is missing, no number, or not above 0; COCO's evaluation stops or ignores sizes",
        "write the area of the mask, or of the box",
        "writes the area of the box",
    ),
    Kind(
        "iscrowd-bad",
        "error",
        "iscrowd is missing (in a file that is not LVIS's) or neither 0 nor 1",
        "write 0, or 1 for a group",
        "writes 0",
    ),
    # masks
    Kind(
        "segmentation-missing",
        "error",
        "an annotation has no segmentation though others have; mask training stops",
        "draw its mask, or train on boxes",
        _DROP_ANNOTATION,
    ),
    Kind(
        "segmentation-bad",
        "error",
        "segmentation is neither a list of polygons nor an RLE object",
        "write [[x1, y1, x2, y2, ...]] or {size, counts}",
        _DROP_ANNOTATION,
    ),
    Kind(
        "segmentation-empty",
        "error",
        "segmentation has no polygon, or an RLE without a pixel",
        "draw the mask",
        _DROP_ANNOTATION,
    ),
    Kind(
        "polygon-bad",
        "error",
        "a polygon is no list of finite numbers",
        "write [x1, y1, x2, y2, ...]",
        "drops the polygon",
    ),
    Kind(
        "polygon-odd",
        "error",
        "a polygon has an odd number of coordinates",
        "write x and y of each point",
        "drops the polygon",
    ),
    Kind(
        "polygon-short",
        "error",
        "a polygon has less than three points",
        "remove it, or draw it",
        "drops the polygon",
    ),
    Kind(
        "polygon-no-area", "warning", "a polygon encloses nothing", "remove it", "drops the polygon"
    ),
    Kind(
        "polygon-self-crossing",
        "warning",
        "a polygon's outline crosses itself; its mask has holes or ears",
        "draw it again",
    ),
    Kind(
        "rle-broken",
        "error",
        "an RLE cannot be decoded, or is of another size than its image",
        "export the mask again",
        _DROP_ANNOTATION,
    ),
    Kind(
        "box-mask-disagree",
        "warning",
        "bbox is not the box around the mask",
        "write the mask's box",
    ),
    Kind(
        "area-mask-disagree",
        "warning",
        "area is not that of the mask; COCO's small, medium and large are sorted by it",
        "write the mask's area",
    ),
    # keypoints
    Kind(
        "keypoints-bad",
        "error",
        "keypoints are missing, or no x, y, v (0, 1 or 2) for each of the category's keypoints",
        "write them in the category's order, unlabelled ones as 0, 0, 0",
        "writes them as unlabelled",
    ),
    Kind(
        "num-keypoints-wrong",
        "error",
        "num_keypoints is missing or not the number of labelled keypoints",
        "count those of v above 0",
        "counts them",
    ),
    Kind(
        "keypoint-outside",
        "warning",
        "a labelled keypoint lies outside of its image",
        "look whether the image was scaled or cropped",
    ),
    Kind(
        "skeleton-bad",
        "warning",
        "a category's skeleton joins keypoints that it has not",
        "number keypoints from 1",
    ),
    # LVIS
    Kind(
        "lvis-frequency-bad",
        "error",
        "a category's frequency is none of r, c, f; AP_r, AP_c, AP_f cannot be computed",
        "write it as LVIS does: r for at most 10 images, c for at most 100, else f",
        "writes it from the images of this file",
    ),
    Kind(
        "lvis-negatives-bad",
        "error",
        "an image's neg_category_ids or not_exhaustive_category_ids is no list of known ids",
        "list the ids of categories",
        "keeps the ids that are known",
    ),
    Kind(
        "lvis-negative-present",
        "warning",
        "an image has annotations of a category that it lists in neg_category_ids",
        "remove the category there",
        "removes the category there",
    ),
    # image files
    Kind(
        "path-leaves-folder",
        "error",
        "a file_name leads out of the folder of images (.., an absolute path, a link)",
        "move the file into the folder and name it by its path there",
        _DROP_IMAGE,
    ),
    Kind(
        "image-missing",
        "error",
        "the file of an image is not there",
        "look whether the folder is the right one and upper and lower case agree",
        _DROP_IMAGE,
    ),
    Kind(
        "image-unreadable",
        "error",
        "a file is no image that Pillow can read",
        "save it as JPEG or PNG",
        _DROP_IMAGE,
    ),
    Kind(
        "image-truncated", "error", "an image is cut off", "copy or download it again", _DROP_IMAGE
    ),
    Kind(
        "size-mismatch",
        "error",
        "an image has another size than the JSON says (EXIF rotation applied, as Detectron2 does)",
        "annotate the image as it is, or restore the one that was annotated",
        _DROP_IMAGE,
    ),
    Kind(
        "image-rotated",
        "info",
        "an image is turned by its EXIF tag; tools that ignore the tag see it lying down",
        "save the pixels upright, without the tag",
    ),
    # train against val
    Kind(
        "leak-same-file",
        "error",
        "an image of val has the very bytes of one of train",
        "remove it from train or from val",
    ),
    Kind(
        "leak-look-alike",
        "warning",
        "an image of val looks like one of train (perceptual hash)",
        "look at both; frames of one video belong into one of the sets",
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}

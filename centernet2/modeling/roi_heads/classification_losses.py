"""Classification losses of the second stage, as functions of logits, labels and class weights.

All take ``logits`` ``(R, C + 1)`` and ``labels`` ``(R,)`` int64 in ``[0, C]``, where ``C`` is the
background. The sigmoid family ignores the last logit. No RoIs give a zero attached to the graph,
so that every process of a distributed run has a gradient to share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = [
    "equalization_weight",
    "federated_classes",
    "federated_weight",
    "rarest_classes",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]


def softmax_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over the RoIs."""
    if labels.numel() == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits.float(), labels)


def sigmoid_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross entropy, summed over classes and divided by the number of RoIs.

    Args:
        logits, labels: see the module.
        weight: ``(C,)`` or ``(R, C)`` factor of each term; None for ones.
    """
    if labels.numel() == 0:
        return logits.sum() * 0.0
    scores = logits[:, :-1].float()
    target = F.one_hot(labels, logits.shape[1])[:, :-1].to(scores.dtype)
    loss = F.binary_cross_entropy_with_logits(scores, target, weight=weight, reduction="sum")
    return loss / len(labels)


def equalization_weight(labels: torch.Tensor, is_tail: torch.Tensor) -> torch.Tensor:
    """``(R, C)`` weights that spare tail classes (equalization loss, Tan et al. 2020).

    The weight of class j for a foreground RoI of class k != j is 0 if j is a tail class, else 1;
    background RoIs keep weight 1 everywhere.

    Args:
        labels: ``(R,)``.
        is_tail: ``(C,)`` bool.
    """
    num_classes = len(is_tail)
    foreground = labels < num_classes
    own = F.one_hot(labels, num_classes + 1)[:, :-1].bool()
    spared = foreground[:, None] & is_tail[None] & ~own
    return (~spared).float()


def rarest_classes(image_counts: torch.Tensor, number: int) -> torch.Tensor:
    """``(C,)`` bool, whether a class is one of the ``number`` in fewest images.

    Of classes in equally many images the lower ids go first.

    Args:
        image_counts: ``(C,)``.
        number: from 0 to C.
    """
    rarest = torch.zeros_like(image_counts, dtype=torch.bool)
    rarest[image_counts.argsort(stable=True)[:number]] = True
    return rarest


def federated_classes(
    labels: torch.Tensor,
    rois_per_image: Sequence[int],
    frequency: torch.Tensor,
    subset_size: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The set S of classes that take part in the federated loss, one for each image.

    S holds the classes present among the RoIs of the image and, until it has ``subset_size``
    members, others drawn without replacement in proportion to ``frequency`` (report section 3).
    The background counts as a member when there are background RoIs (as published). Classes of
    frequency 0 are never drawn; if too few others exist, S is smaller.

    Args:
        labels: ``(R,)``, the images' one after the other.
        rois_per_image: B numbers that add up to R.
        frequency: ``(C,)`` sampling weights, e.g. the square root of image counts.
        subset_size: ``|S|``.
        generator: source of randomness on the labels' device; None for the global one.

    Returns:
        ``(B, C)`` bool, whether a class is in S.
    """
    num_images, num_classes = len(rois_per_image), len(frequency)
    split = labels.split(list(rois_per_image))
    image = torch.cat([torch.full_like(part, i) for i, part in enumerate(split)])
    present = labels.new_zeros((num_images, num_classes + 1), dtype=torch.bool)
    # A tensor on the device, since a plain True would be copied there and waited for
    present[image, labels] = torch.ones_like(labels, dtype=torch.bool)
    weight = frequency.to(labels.device, torch.float32).expand(num_images, -1)
    drawable = (weight > 0) & ~present[:, :-1]
    # Waiting times of these rates end in the order of draws without replacement: unlike
    # torch.multinomial, all images at once and with no number that the CPU must wait for
    times = torch.empty_like(weight, memory_format=torch.contiguous_format)
    times = times.exponential_(generator=generator) / weight
    rank = times.masked_fill(~drawable, torch.inf).argsort(dim=1).argsort(dim=1)
    places = subset_size - present.sum(dim=1, keepdim=True)
    return present[:, :-1] | (drawable & (rank < places))


def federated_weight(
    labels: torch.Tensor,
    frequency: torch.Tensor,
    subset_size: int,
    rois_per_image: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Weights 1 for the classes of :func:`federated_classes` and 0 for the others.

    Args:
        labels, frequency, subset_size, generator: see :func:`federated_classes`.
        rois_per_image: B numbers that add up to R, for a set S for each image; None for one set
            that all RoIs share.

    Returns:
        ``(R, C)``, or ``(C,)`` where the set is shared.
    """
    if rois_per_image is None:
        return federated_classes(labels, [len(labels)], frequency, subset_size, generator)[
            0
        ].float()
    chosen = federated_classes(labels, rois_per_image, frequency, subset_size, generator)
    return torch.cat([s.expand(n, -1) for s, n in zip(chosen, rois_per_image)]).float()

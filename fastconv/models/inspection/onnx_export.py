"""Writes a run as one ONNX file that other programs can run, with all that they need to know to show it images.

Its metadata has ``network``, ``dataset``, ``mean``, ``deviation``, ``classes``, a JSON list of names, and
``preprocessing``, the fields of :class:`fastconv.models.data.preprocessing.Preprocessing` as a JSON object. The input
is called ``images``, float32 (batch, channels, height, width), to be normalised: (pixel / 255 - mean) / deviation. The
output is called ``scores``, float32 (batch, classes); its softmax gives the probabilities.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec

import torch

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.facts import Facts
from fastconv.models.inspection.style import drawable
from fastconv.models.inspection.trained import Trained
from fastconv.models.plain import plain

NEEDED = ("onnx", "onnxscript")
INPUT, OUTPUT, BATCH = "images", "scores", "batch"


def to_onnx(run: Trained) -> bytes:
    """Returns the content of an ONNX file for batches of any size; raises ModelsError if a package is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ModelsError(
            f"{' and '.join(missing)} not installed; pip install 'fastconv[onnx]' brings what export needs"
        )
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    with _quiet():
        program = torch.onnx.export(
            plain(run.model),
            (torch.zeros(2, *run.facts.shape),),  # a batch of one would be taken for a batch of always one
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # the exporter notes the source files' places on this machine
    program.model.metadata_props.update(_metadata(run.facts))
    content: bytes = program.model_proto.SerializeToString()
    return content


def _metadata(facts: Facts) -> dict[str, str]:
    return {
        "network": facts.network,
        "dataset": drawable(facts.dataset),
        "mean": repr(facts.mean),
        "deviation": repr(facts.deviation),
        "classes": json.dumps(facts.classes),
        "preprocessing": json.dumps(asdict(facts.preprocessing)),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks about itself and about torchvision, which nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

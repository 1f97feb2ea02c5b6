"""The patch record: a window of a cube cut for training, to and from bytes, and the record set on disk. No JAX.

A record set is a TensorFlow Datasets directory of ArrayRecord shards (`tfds.builder_from_directory` opens it) with
a `manifest.json` beside it. How patches are cut is data_prep/records/build.py.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from eomm.data.modality import Modality, check_contract
from eomm.data.remote import check_names, fetch_records, is_url
from eomm.errors import DataError
from eomm.page.shown import Shown
from eomm.store.descriptions import AGAIN, read_described
from eomm.store.digest import digest_text, sha256
from eomm.store.fields import Json
from eomm.store.folders import check_store, entered, read_json, recover, write_json

VERSION = "1.0.0"
NAME = "eomm_patches"  # the data set's name in TensorFlow Datasets

READINGS = ("crop", "lone", "homogeneous")
"""What lies beside a record's pixels for an encoder that sees neighbours: the record's own margin ("crop"), nothing
known ("lone"), or more of the same ("homogeneous"). See `eomm.models.reading`."""

Patch = dict[str, Any]  # {modality: {field: array}, "site": str, "row": int, "col": int}


@dataclass(frozen=True, kw_only=True)
class PatchShape:
    """The fixed shape of one modality within every record of a set.

    Attributes:
        modality: contract of the values.
        acquisitions: length of the time axis; shorter series are padded at the end.
        height: rows.
        width: columns.
        labelled: whether records carry a label, a number of the manifest's `labels` or below 0 where it is unknown.
    """

    modality: Modality
    acquisitions: int
    height: int
    width: int
    labelled: bool = False

    @property
    def site_wide(self) -> bool:
        """Whether the modality has a single pixel, which serves all pixels of the others."""
        return self.height == self.width == 1

    def fields(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Field name -> (shape, dtype). The axis order is [time, y, x, band]; there is no batch axis.

        `present` is false for padding, whose `valid` is false, `day` that of the last acquisition and `orbit` 0.
        `orbit`, `direction` and `incidence` are as in `CubeGroup.meta`. `label` is there where records carry one.
        """
        t, y, x, c = self.acquisitions, self.height, self.width, len(self.modality.bands)
        return {
            "values": ((t, y, x, c), np.int16),
            "valid": ((t, y, x), np.uint8),
            "day": ((t,), np.int32),
            "present": ((t,), np.uint8),
            "orbit": ((t,), np.int32),
            "direction": ((t,), np.int8),
            "incidence": ((t,), np.float32),
            **({"label": ((), np.int32)} if self.labelled else {}),
        }


def features(shapes: Mapping[str, PatchShape]) -> tfds.features.FeaturesDict:
    """The TensorFlow Datasets features of a record; `bytes` encoding is 40 times quicker to write than the default."""

    def tensor(shape: tuple[int, ...], dtype: type) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    modalities = {
        name: {field: tensor(*spec) for field, spec in shape.fields().items()} for name, shape in shapes.items()
    }
    return tfds.features.FeaturesDict(
        {**modalities, "site": tfds.features.Text(), "row": tensor((), np.int32), "col": tensor((), np.int32)}
    )


@dataclass(frozen=True)
class Codec:
    """Patches to bytes and back, exactly."""

    shapes: Mapping[str, PatchShape]

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """See `features`."""
        return features(self.shapes)

    @functools.cached_property
    def _serializer(self) -> ExampleSerializer:
        return ExampleSerializer(self.features.get_serialized_info())

    def encode(self, patch: Patch) -> bytes:
        """One patch as a serialised tf.Example. Raises DataError when shapes or dtypes are not the set's."""
        for name, shape in self.shapes.items():
            for field, (dims, dtype) in shape.fields().items():
                array = patch[name][field]
                if array.shape != dims or array.dtype != dtype:
                    raise DataError(
                        f"patch of {patch['site']} at row {patch['row']}, col {patch['col']}: {name}/{field} is "
                        f"{array.dtype}{array.shape}, expected {np.dtype(dtype)}{dims}"
                    )
        flat = {name: patch[name] for name in self.shapes}
        fields = {**flat, "site": patch["site"], "row": np.int32(patch["row"]), "col": np.int32(patch["col"])}
        # `features.serialize_example` orders the map differently in every process, and so would the shards' hashes.
        example = self._serializer.get_tf_example(self.features.encode_example(fields))
        return example.SerializeToString(deterministic=True)

    def decode(self, record: bytes) -> Patch:
        """Inverse of `encode`; arrays are read-only.

        A record's fields are all single byte strings, so they are read from the message itself: a tenth of the time of
        `features.deserialize_example_np` for records of one pixel.

        Raises:
            DecodeError: not a record.
            KeyError: a field is missing.
            ValueError: a field has another shape.
        """
        fields = tf_example_pb2.Example.FromString(record).features.feature

        def content(key: str) -> bytes:
            if key not in fields:
                raise KeyError(f"no field {key}")
            return bytes(fields[key].bytes_list.value[0])

        patch: Patch = {
            name: {
                field: np.frombuffer(content(f"{name}/{field}"), dtype).reshape(dims)
                for field, (dims, dtype) in shape.fields().items()
            }
            for name, shape in self.shapes.items()
        }
        row, col = (int(np.frombuffer(content(key), np.int32)[0]) for key in ("row", "col"))
        return {**patch, "site": content("site").decode(), "row": row, "col": col}


@dataclass(frozen=True, repr=False)
class RecordSet(Shown):
    """An opened, finished record set.

    Attributes:
        path: its directory.
        shapes: by modality name, of what a batch holds of a record.
        manifest: counts, split, buffer, statistics, a hash per shard; JSON types.
        whole: shapes of the records where batches hold crops drawn from them (draw.py), else None.
    """

    path: Path
    shapes: Mapping[str, PatchShape]
    manifest: Mapping[str, Any]
    whole: Mapping[str, PatchShape] | None = None

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        splits = dict.fromkeys(f["split"] for f in self.manifest["files"])
        shapes = {n: f"{s.acquisitions} x {s.height} x {s.width} px" for n, s in self.shapes.items()}
        return {"records": self.path.name, **{s: self.count(s) for s in splits}, **shapes}

    @property
    def stored(self) -> Mapping[str, PatchShape]:
        """Shapes of the records on disk."""
        return self.whole or self.shapes

    @property
    def data_hash(self) -> str:
        """16 hex digits that stand for contracts, shapes, every shard's content and how it is read."""
        text = repr(sorted((f["name"], f["sha256"]) for f in self.manifest["files"]))
        text += "" if self.reading == READINGS[0] else self.reading
        return digest_text(text + repr(self.manifest["shapes"]))

    @property
    def reading(self) -> str:
        """One of READINGS."""
        return reading_of(self.manifest)

    @property
    def codec(self) -> Codec:
        """Encodes and decodes this set's records."""
        return Codec(self.stored)

    def files(self, split: str, *, check: bool = True) -> list[Path]:
        """Shards of a split, in order.

        Raises:
            DataError: there is no such split; or, with `check`, a shard is missing or has another size.
        """
        found = [f for f in self.manifest["files"] if f["split"] == split]
        if not found:
            splits = sorted({f["split"] for f in self.manifest["files"]})
            raise DataError(f"{self.path}: has no split {split!r}; it has {', '.join(splits)}")
        for f in found if check else ():
            if wrong := size_misfit(self.path, f):
                raise DataError(f"{wrong}; the record set is damaged, cut it again")
        return [self.path / f["name"] for f in found]

    def count(self, split: str) -> int:
        """Number of records in a split, 0 where there is none."""
        return sum(f["records"] for f in self.manifest["files"] if f["split"] == split)

    def check_unchanged(self) -> None:
        """Raise DataError where another record set lies there by now: what was read since it was opened may mix two."""
        if read_json(self.path / "manifest.json") != self.manifest:
            raise DataError(
                f"{self.path}: was replaced since it was opened, so that what was read may mix two record sets; run "
                "again when nothing writes there, in a fresh folder"
            )

    def verify(self) -> None:
        """Hash every shard. Raises DataError naming the first that is missing or differs from the manifest."""
        for damage in find_damage(self):
            raise DataError(f"{damage}; cut the records again")


def size_misfit(folder: Path, described: Json) -> str:
    """What is wrong with a shard that is not there, or has another size than the manifest says; "" where nothing is."""
    file = folder / described["name"]
    if not file.is_file():
        return f"{file}: missing, expected {described['bytes']} bytes"
    size = file.stat().st_size
    return "" if size == described["bytes"] else f"{file}: {size} bytes, expected {described['bytes']} bytes"


def find_damage(records: RecordSet) -> Iterator[str]:
    """Every shard that is not what the manifest says, with what is wrong; hashes all of them."""
    for f in records.manifest["files"]:
        if wrong := size_misfit(records.path, f):
            yield wrong
        elif sha256(records.path / f["name"]) != f["sha256"]:
            yield f"{records.path / f['name']}: content differs from the manifest"


def reading_of(manifest: Mapping[str, Any]) -> str:
    """One of READINGS, from a record set's manifest."""
    return str(manifest.get("reading", READINGS[0]))


def open_records(path: Path | str, expect: Mapping[str, Modality] | None = None) -> RecordSet:
    """Open a finished record set and check contracts; one in a bucket (gs://, s3://) is copied to this machine first.

    Raises:
        DataError: missing, unfinished or damaged.
        ContractError: a modality follows another contract than `expect` says.
        UsageError: `path` is in a bucket, and what reads such is not installed.
    """
    path = fetch_records(path) if is_url(path) else entered(path)
    recover(path)
    check_store(path, "manifest.json", "a record set of `eomm prepare records`")
    manifest = read_described(path / "manifest.json")
    if not manifest["eomm:complete"]:
        raise DataError(f"{path}: not a finished eomm record set; cut the records again")
    check_names((f["name"] for f in manifest["files"]), path / "manifest.json")
    shapes, drawn = _shapes(path / "manifest.json", manifest)
    for name, modality in (expect or {}).items():
        if name not in shapes:
            raise DataError(f"{path}: has no modality {name!r}; it has {', '.join(shapes)}")
        check_contract(shapes[name].modality, modality, found_in=str(path), expected_by="the reader")
    return RecordSet(path, drawn, manifest, shapes) if drawn else RecordSet(path, shapes, manifest)


def _shapes(file: Path, manifest: Json) -> tuple[dict[str, PatchShape], dict[str, PatchShape]]:
    """Of the records, and of what is drawn from them, if they are not used whole."""
    shapes = {
        name: PatchShape(**{**s, "modality": Modality.from_dict(s["modality"], str(file))})
        for name, s in manifest["shapes"].items()
    }
    drawn = manifest.get("drawn", {})
    if lost := sorted(drawn.keys() - shapes.keys()):
        raise DataError(f"{file}: draws {', '.join(lost)}, of which it holds no shape; {AGAIN}")
    return shapes, {n: dataclasses.replace(shapes[n], **size) for n, size in drawn.items()}


def finish_records(
    path: Path,
    *,
    shapes: Mapping[str, PatchShape],
    files: Sequence[Mapping[str, Any]],
    manifest: Mapping[str, Any],
) -> None:
    """Write TensorFlow Datasets metadata and, last, the manifest that makes the set finished.

    Args:
        path: directory that holds the shards.
        shapes: by modality name.
        files: per shard {"name", "split", "records", "bytes", "sha256"}; names as tfds has them.
        manifest: further entries: split, buffer, statistics {modality: {"mean", "std", "low", "high"}}, sources.
    """
    splits = []
    for split in sorted({f["split"] for f in files}):
        shards = [f for f in files if f["split"] == split]
        template = tfds.core.ShardedFileTemplate(
            data_dir=path, dataset_name=NAME, split=split, filetype_suffix="array_record"
        )
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[f["records"] for f in shards],
                num_bytes=sum(f["bytes"] for f in shards),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=path, features=features(shapes), split_infos=splits, check_data=False, description="eomm patch records"
    )
    described = {
        name: {
            "modality": s.modality.to_dict(),
            "acquisitions": s.acquisitions,
            "height": s.height,
            "width": s.width,
            **({"labelled": True} if s.labelled else {}),
        }
        for name, s in shapes.items()
    }
    head = {"eomm:kind": "records", "version": VERSION, "shapes": described, "files": list(files)}
    write_json(path / "manifest.json", {**head, **manifest, "eomm:complete": True})


def shard_name(split: str, index: int, count: int) -> str:
    """A shard's file name as TensorFlow Datasets has it."""
    return f"{NAME}-{split}.array_record-{index:05d}-of-{count:05d}"
